"""A model's sizes, from its ``config.json``: what memory can be estimated by."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from phasewise.errors import ConfigError
from phasewise.methods.gguf import place_converted
from phasewise.model_files import locate_model
from phasewise.settings import ModelSettings
from phasewise.settings.target_modules import BLOCK_ROLES

#: Architectures whose feed-forward part has a gate: three matrices, not two.
_GATED = ("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "phi3", "smollm3")

_ATTENTION_DROPOUTS = ("attention_probs_dropout_prob", "attention_dropout", "attn_pdrop")


class ModelShape(NamedTuple):
    """Widths and numbers of what holds nearly all weights of a transformer."""

    hidden: int
    layers: int
    vocabulary: int
    attention: int  # width of all queries
    key_value: int  # width of all keys, and of all values
    inner: int  # width of the feed-forward part
    gated: bool
    tied: bool  # whether the head shares its weights with the embedding
    heads: int = 0
    drops_attention: bool = False  # whether attention drops out while the model trains

    @property
    def matrices(self) -> dict[str, tuple[int, int]]:
        """Role to inputs and outputs of each linear layer of one block."""
        gate = {"gate": (self.hidden, self.inner)} if self.gated else {}
        return {
            "query": (self.hidden, self.attention),
            "key": (self.hidden, self.key_value),
            "value": (self.hidden, self.key_value),
            "output": (self.attention, self.hidden),
            **gate,
            "up": (self.hidden, self.inner),
            "down": (self.inner, self.hidden),
        }

    @property
    def linear_weights(self) -> int:
        """Weights in the linear layers of all blocks, which quantization makes small."""
        return self.layers * sum(left * right for left, right in self.matrices.values())

    @property
    def weights(self) -> int:
        """All weights, but for biases, norms and positions: less than 2 in 100."""
        return self.linear_weights + (1 if self.tied else 2) * self.vocabulary * self.hidden

    def adapter_weights(self, rank: int, roles: Sequence[str] = BLOCK_ROLES) -> int:
        """Weights of low-rank adapters on the layers of these roles in all blocks."""
        sizes = [size for role, size in self.matrices.items() if role in roles]
        return self.layers * rank * sum(left + right for left, right in sizes)


def read_shape(model: ModelSettings) -> ModelShape | None:
    """Returns a model's shape, as many layers as are kept; None where it is not at hand."""
    try:
        found = locate_model(model)
        if found is None:  # a hub id that is still to be fetched
            return None
        folder = place_converted(found) if found.is_file() else found
        shape = shape_of(json.loads((folder / "config.json").read_text(encoding="utf-8")))
    except (ConfigError, OSError, ValueError):
        return None
    return shape if shape is None or model.layers is None else shape._replace(layers=model.layers)


def shape_of(config: Mapping[str, Any]) -> ModelShape | None:
    """Returns the shape that a ``config.json`` tells; None if it tells no width or depth."""
    hidden = _first(config, ("hidden_size", "n_embd", "d_model", "dim"))
    layers = _first(config, ("num_hidden_layers", "n_layer", "n_layers"))
    if not hidden or not layers:
        return None
    heads = _first(config, ("num_attention_heads", "n_head", "n_heads")) or 1
    width = config.get("head_dim") or hidden // heads
    pairs = config.get("num_key_value_heads") or heads
    is_encoder = not any("Causal" in name for name in config.get("architectures") or ())
    return ModelShape(
        hidden=hidden,
        layers=layers,
        vocabulary=int(config.get("vocab_size", 0)),
        attention=heads * width,
        key_value=pairs * width,
        inner=_first(config, ("intermediate_size", "n_inner", "hidden_dim")) or 4 * hidden,
        gated=config.get("model_type") in _GATED,
        tied=is_encoder or bool(config.get("tie_word_embeddings", True)),
        heads=heads,
        drops_attention=any(config.get(key) for key in _ATTENTION_DROPOUTS),
    )


def _first(config: Mapping[str, Any], keys: Sequence[str]) -> int | None:
    return next((int(config[key]) for key in keys if config.get(key)), None)
