"""The page on which model fits on which card, by the estimate that ``phasewise plan`` prints."""

from typing import Any

from phasewise.methods.model_shape import ModelShape, shape_of
from phasewise.settings import MethodSettings, read_yaml, require_registered
from phasewise.tuning.memory_estimate import estimate_peak_gb

METHODS = {"full fine-tuning": "full_finetune", "LoRA": "lora", "QLoRA": "qlora"}
RANK, LENGTH = 16, 512
#: Heading and rows in a forward pass.
ROWS = {"Eight rows at once": 8, "One row at a time (`micro_batch_size: 1`)": 1}
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

INTRO = f"""# Which model fits where

{{note}}

The peak of one run, in GB, and the smallest card that it fits on with a tenth to spare, for rows of
{LENGTH} tokens, products in bfloat16 and adapters of rank {RANK} on all linear layers. It is the
estimate that `phasewise plan` prints (column GB, `~`) for your model, batch and length before
Phase 0 has measured a run; then it prints what was measured.

These are estimates from each model's published sizes; none of these rows was run on a card to check
it. Phasewise keeps trained weights in float32 with AdamW's two moments (16 bytes a weight), frozen
ones in bfloat16 or nf4, and all activations unless gradient checkpointing is on."""

NOTES = """## What to do where it does not fit

- `training: {micro_batch_size: 1}` holds one row at a time; the effective batch stays. If a run
  runs out of memory this happens by itself, by halves.
- `training: {gradient_checkpointing: true}` keeps a block's inputs instead of all activations, and
  computes these twice.
- A shorter `max_length`: activations are proportional to rows times tokens.
- `qlora` in place of `lora`; of full fine-tuning, `training: {optimizer: paged_adamw_8bit}`.
- `search: {memory_constraint_gb: 16}` redraws trials that would not fit, and says so.

Trials that train together share the frozen weights: each adds its adapter's weights and its own
activations. On a CPU the same sizes hold in main memory; nf4 and int8 work there too, slowly."""


def hardware_page(note: str) -> str:
    """Returns the page; ``note`` says where it comes from."""
    parts = [INTRO.format(note=note)]
    for heading, rows in ROWS.items():
        parts += [f"## {heading}", _table(rows)]
    return "\n\n".join([*parts, NOTES]) + "\n"


def _table(rows: int) -> str:
    lines = [f"| model | weights | {' | '.join(METHODS)} |", "| --- " * (2 + len(METHODS)) + "|"]
    for name, config in MODELS.items():
        shape = shape_of(config)
        assert shape is not None
        is_decoder = "architectures" in config
        cells = [_cell(shape, method, rows, is_decoder) for method in METHODS.values()]
        lines.append(f"| `{name}` | {_count(shape.weights)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(shape: ModelShape, method: str, rows: int, is_language_model: bool) -> str:
    settings = MethodSettings(name=method, **read_yaml(require_registered("methods", method)))
    peak = estimate_peak_gb(
        shape, settings, rank=RANK, tokens=rows * LENGTH, is_language_model=is_language_model
    )
    card = next((f"{size} GB" for size in CARDS if peak <= SHARE * size), "several cards")
    return f"{peak:.1f}: {card}" if peak < 100 else f"{peak:.0f}: {card}"


def _count(weights: int) -> str:
    return f"{weights / 1e9:.1f} B" if weights >= 1e9 else f"{weights / 1e6:.0f} M"
