"""Which well-known models fit which card, by the sums of ``memory_estimate``."""

from typing import Any, NamedTuple

from phasewise.methods.model_shape import ModelShape, shape_of
from phasewise.settings import MethodSettings, read_yaml, require_registered
from phasewise.tuning.memory_estimate import estimate_peak_gb

#: Ways of training that are compared, with their methods.
METHODS = {"full fine-tuning": "full_finetune", "LoRA": "lora", "QLoRA": "qlora"}
#: Of the adapters, on all linear layers.
RANK = 16
#: Memory that cards are sold with, GB, and the share of it that a run can have.
CARDS, SHARE = (8, 12, 16, 24, 32, 48, 80, 141, 192), 0.92


def _decoder(
    hidden: int, layers: int, heads: tuple[int, int], inner: int, vocabulary: int, **more: Any
) -> dict[str, Any]:
    return {
        "architectures": ["ACausalLM"],
        "model_type": "llama",
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads[0],
        "num_key_value_heads": heads[1],
        "intermediate_size": inner,
        "vocab_size": vocabulary,
        "tie_word_embeddings": False,
        **more,
    }


def _encoder(hidden: int, layers: int, vocabulary: int) -> dict[str, Any]:
    return {
        "model_type": "bert",
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": hidden // 64,
        "intermediate_size": 4 * hidden,
        "vocab_size": vocabulary,
    }


#: From the config.json of each on the hub; `llama` stands for all architectures with a gate.
MODELS: dict[str, dict[str, Any]] = {
    "sentence-transformers/all-MiniLM-L6-v2": _encoder(384, 6, 30522),
    "bert-base-uncased": _encoder(768, 12, 30522),
    "FacebookAI/roberta-large": _encoder(1024, 24, 50265),
    "HuggingFaceTB/SmolLM2-135M": _decoder(576, 30, (9, 3), 1536, 49152, tie_word_embeddings=True),
    "Qwen/Qwen2.5-0.5B": _decoder(896, 24, (14, 2), 4864, 151936, tie_word_embeddings=True),
    "meta-llama/Llama-3.2-1B": _decoder(
        2048, 16, (32, 8), 8192, 128256, tie_word_embeddings=True, head_dim=64
    ),
    "microsoft/phi-2": _decoder(2560, 32, (32, 32), 10240, 51200, model_type="phi"),
    "mistralai/Mistral-7B-v0.1": _decoder(4096, 32, (32, 8), 14336, 32000),
    "meta-llama/Llama-3.1-8B": _decoder(4096, 32, (32, 8), 14336, 128256),
    "Qwen/Qwen2.5-14B": _decoder(5120, 48, (40, 8), 13824, 152064),
    "Qwen/Qwen2.5-32B": _decoder(5120, 64, (40, 8), 27648, 152064),
    "meta-llama/Llama-3.1-70B": _decoder(8192, 80, (64, 8), 28672, 128256),
}


class CardRow(NamedTuple):
    """A card, and by way of training the largest decoder that fits it; None: not even one."""

    card_gb: int
    largest: dict[str, str | None]


def list_cards(tokens: int) -> list[CardRow]:
    """Returns what fits each of ``CARDS``.

    Args:
        tokens: In a forward pass: rows times their length.
    """
    shapes = {name: shape_of(config) for name, config in MODELS.items() if is_decoder(name)}
    decoders = {name: shape for name, shape in shapes.items() if shape is not None}
    by_size = sorted(decoders, key=lambda name: decoders[name].weights)
    peaks = {
        way: {name: estimate_way_gb(decoders[name], way, tokens, True) for name in by_size}
        for way in METHODS
    }
    return [
        CardRow(
            card,
            {
                way: next((name for name in reversed(by_size) if found[name] <= SHARE * card), None)
                for way, found in peaks.items()
            },
        )
        for card in CARDS
    ]


def estimate_way_gb(shape: ModelShape, way: str, tokens: int, is_language_model: bool) -> float:
    """Returns the peak of one run, in 1e9 bytes, with products in bfloat16.

    Args:
        shape: Of the model.
        way: A name in ``METHODS``.
        tokens: In a forward pass.
        is_language_model: Whether logits over the vocabulary are computed for every token.
    """
    name = METHODS[way]
    method = MethodSettings(name=name, **read_yaml(require_registered("methods", name)))
    return estimate_peak_gb(
        shape, method, rank=RANK, tokens=tokens, is_language_model=is_language_model
    )


def is_decoder(name: str) -> bool:
    """Whether one of ``MODELS`` is a causal language model."""
    return "architectures" in MODELS[name]
