"""Loads a pretrained model and its tokenizer, quietly, in the form a method needs."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
import transformers
from torch import nn

from phasewise.errors import ConfigError
from phasewise.methods.base_config import (
    align_pad_token,
    first_line,
    load_config,
    quiet_loading,
    settle_config,
)
from phasewise.methods.batch_guard import require_rows_apart
from phasewise.methods.sources import resolve_model_path
from phasewise.settings import CAUSAL_LM, ModelSettings

Quantization = Literal["none", "nf4", "int8"]
#: Any of these is a tokenizer; without, a folder may hold a chat template alone.
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")
_TEMPLATE_FILE = "chat_template.jinja"


class BaseModel(NamedTuple):
    """A pretrained model, as loaded; its head is fresh unless it is a language model's own."""

    model: Any
    """The transformers model, in evaluation mode."""
    fresh_modules: tuple[str, ...]
    """Full names of the modules without pretrained weights: the head, sometimes a pooler."""


def read_family(model: ModelSettings) -> str:
    """Returns ``model_type`` of a model's config; no weights are read.

    Raises:
        ConfigError: The model, or its config, cannot be found.
    """
    return str(load_config(model).model_type)


def load_tokenizer(model: ModelSettings, adapter: Path | None = None) -> Any:
    """Returns the model's tokenizer, with the padding token that the model is given too.

    Its ``model_max_length`` is at most the positions that the model has.

    Args:
        model: Where it comes from.
        adapter: Folder of an adapter of the model: its own tokenizer and chat template, where it
            holds such, are those it was trained with.

    Raises:
        ConfigError: The model cannot be found, or has no tokenizer.
    """
    path = resolve_model_path(model)
    has_own = adapter is not None and any((adapter / name).is_file() for name in _TOKENIZER_FILES)
    if has_own:
        path = str(adapter)
    try:
        with quiet_loading():
            tokenizer = transformers.AutoTokenizer.from_pretrained(
                path, revision=model.revision or "main"
            )
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"model.source: {adapter or model.source}: no tokenizer ({first_line(error)})"
        ) from error
    if len(tokenizer) <= len(tokenizer.all_special_tokens):
        raise ConfigError(f"model.source: {model.source}: no tokenizer (it has no vocabulary)")
    if adapter is not None and not has_own and (adapter / _TEMPLATE_FILE).is_file():
        tokenizer.chat_template = (adapter / _TEMPLATE_FILE).read_text(encoding="utf-8")
    config = load_config(model)
    align_pad_token(tokenizer, config, model.source)
    positions = getattr(config, "max_position_embeddings", None)
    if positions is not None and positions > 0:
        tokenizer.model_max_length = min(int(tokenizer.model_max_length), int(positions))
    return tokenizer


def load_base_model(
    model: ModelSettings,
    *,
    auto_class: str,
    kwargs: Mapping[str, Any],
    tokenizer: Any,
    quantization: Quantization = "none",
    dtype: torch.dtype = torch.float32,
    compute_dtype: torch.dtype = torch.float32,
    device: torch.device | None = None,
    attention: str | None = None,
) -> BaseModel:
    """Returns the pretrained model with a head for the task.

    Args:
        model: Where it comes from; ``layers`` cuts it to the first n layers.
        auto_class: Name of the transformers class, such as AutoModelForSequenceClassification.
        kwargs: Of the task, as ``TaskKind.model_kwargs`` says; with any, a head of other shapes is
            drawn anew.
        tokenizer: From ``load_tokenizer``: its padding token is the model's. None: of a model that
            gets no texts.
        quantization: How bitsandbytes holds the weights of linear layers (but the head's).
        dtype: Of the weights.
        compute_dtype: Of the products with nf4 weights.
        device: Where it goes; None: CPU.
        attention: As transformers names implementations; None: the model's default.

    Raises:
        ConfigError: The model cannot be found, or not be loaded with such a head.
    """
    loader = getattr(transformers, auto_class)
    path = resolve_model_path(model)
    config = settle_config(model, kwargs, tokenizer)
    arguments: dict[str, Any] = {"config": config, "dtype": dtype, "output_loading_info": True}
    arguments["ignore_mismatched_sizes"] = bool(kwargs)
    if attention is not None:
        arguments["attn_implementation"] = attention
    if quantization != "none":
        heads = _head_names(loader, config)
        arguments["quantization_config"] = _quantization_config(quantization, compute_dtype, heads)
        arguments["device_map"] = {"": device or torch.device("cpu")}
    try:
        with quiet_loading():
            loaded, info = loader.from_pretrained(
                path, revision=model.revision or "main", **arguments
            )
    except (ImportError, OSError, ValueError, KeyError) as error:
        message = f"model.source: {model.source}: cannot be loaded as {auto_class}"
        message += f" with training.attention {attention}" if attention else ""
        raise ConfigError(f"{message} ({first_line(error)})") from error
    if quantization == "none" and device is not None:
        loaded.to(device)
    _repair_cpu_quantization(loaded)
    loaded.eval()
    head = () if auto_class == CAUSAL_LM else find_head(loaded)
    _require_shapes(model, head, info["mismatched_keys"])
    base = BaseModel(loaded, _find_fresh_modules(head, info["missing_keys"]))
    if tokenizer is not None and quantization != "int8":  # which rounds a row by its batch's others
        require_rows_apart(base.model, base.fresh_modules, tokenizer, model.source, Path(path))
    return base


def share_weights(model: nn.Module) -> dict[int, Any]:
    """Returns the memo with which ``copy.deepcopy`` shares all weights instead of copying them.

    Of quantized layers it shares what belongs to the numbers too: 4-bit weights' scales, and the
    state to which an 8-bit layer moves its weight at its first product.
    """
    shared: list[Any] = [*model.parameters(), *model.buffers()]
    for module in model.modules():
        shared += [getattr(module, name, None) for name in ("quant_state", "state")]
    return {id(part): part for part in shared if part is not None}


def find_head(model: nn.Module) -> tuple[str, ...]:
    """Returns the names of the model's top-level modules outside its body; none if it is a body."""
    body = getattr(model, "base_model_prefix", "")
    children = dict(model.named_children())
    if body not in children:
        return ()
    return tuple(
        name
        for name, child in children.items()
        if name != body and any(True for _ in child.parameters())
    )


def _head_names(loader: Any, config: Any) -> list[str]:
    """Returns the head's modules, found on an empty model that takes no memory."""
    with torch.device("meta"), quiet_loading():
        return list(find_head(loader.from_config(config)))


def _quantization_config(
    quantization: Quantization, compute_dtype: torch.dtype, heads: list[str]
) -> Any:
    # bitsandbytes fails on a quantized head with a bare AssertionError; `llm_int8_skip_modules`
    # is what spares it, for 4 bits too (version 0.50).
    if quantization == "int8":
        return transformers.BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=heads)
    return transformers.BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute_dtype,
        llm_int8_skip_modules=heads,
    )


def _repair_cpu_quantization(model: nn.Module) -> None:
    """Keeps nf4 layers from repacking their weights in evaluation mode.

    On CPUs with avx512_bf16, bitsandbytes 0.50 repacks at the first forward pass in evaluation
    mode, and every later training step silently gets zero gradients.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False  # type: ignore[assignment]


def _require_shapes(
    model: ModelSettings, head: tuple[str, ...], mismatched: Iterable[tuple[Any, ...]]
) -> None:
    """Checks that only weights of the head have other shapes than the configuration says."""
    others = sorted(str(name) for name, *_ in mismatched if str(name).split(".")[0] not in head)
    if others:
        raise ConfigError(
            f"model.source: {model.source}: expected weights of the shapes that its configuration "
            f"says, {others[0]} has another; use the configuration that belongs to them"
        )


def _find_fresh_modules(head: tuple[str, ...], missing: set[str]) -> tuple[str, ...]:
    """Returns the head's modules, and the owners of weights the checkpoint lacks outside it."""
    owners = {name.rpartition(".")[0] for name in missing}
    outside = sorted(o for o in owners if o.split(".")[0] not in head and o)
    return (*head, *outside)
