"""What a base model's configuration brings along: set or checked here, for all that loads it.

Configurations carry settings of whatever the model was trained for before: another padding token
than the tokenizer's, another loss, another number of classes. Every engine, baseline, ``predict``
and ``evaluate`` has its configuration, tokenizer and end tokens from here.
"""

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from itertools import takewhile
from typing import Any

import torch
import transformers

from phasewise.errors import ConfigError
from phasewise.methods.sources import resolve_model_path
from phasewise.settings import CAUSAL_LM, TASK_KINDS, ModelSettings

#: How names of transformers' classes end whose heads a task draws anew.
_DRAWN_HEADS = tuple(
    name
    for traits in TASK_KINDS.values()
    if not traits.generates
    for name in (*traits.architectures, "ForTokenClassification")
)


def load_config(model: ModelSettings, kwargs: Mapping[str, Any] | None = None) -> Any:
    """Returns the model's transformers configuration, as its files have it; no weights are read.

    Args:
        model: Where it comes from; ``layers`` cuts it.
        kwargs: What is to be set in it, as ``TaskKind.model_kwargs`` says.

    Raises:
        ConfigError: The model, or its config, cannot be found.
    """
    path = resolve_model_path(model)
    try:
        with quiet_loading():
            config = transformers.AutoConfig.from_pretrained(
                path, revision=model.revision or "main", **(kwargs or {})
            )
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"model.source: {model.source}: no usable config ({first_line(error)})"
        ) from error
    if model.layers is not None:
        _cut_layers(config, model)
    return config


def settle_config(model: ModelSettings, kwargs: Mapping[str, Any], tokenizer: Any) -> Any:
    """Returns the configuration that a model is loaded with: the task's and the tokenizer's.

    Args:
        model: Where it comes from.
        kwargs: See ``load_config``: classes and loss are the task's, whatever the base was for.
        tokenizer: From ``load_tokenizer``; its padding token is the model's.

    Raises:
        ConfigError: See ``load_config``.
    """
    config = load_config(model, kwargs)
    if tokenizer is not None:
        for part in (config, config.get_text_config()):
            part.pad_token_id = tokenizer.pad_token_id
    return config


def describe_inherited(
    model: ModelSettings, tokenizer: Any, auto_class: str, kwargs: Mapping[str, Any]
) -> tuple[str, ...]:
    """Returns what the configuration says and a task sets otherwise, a line each.

    Args:
        model: Where it comes from.
        tokenizer: From ``load_tokenizer``.
        auto_class: Name of the transformers class that the task needs.
        kwargs: From ``TaskKind.model_kwargs``.
    """
    config = load_config(model)
    found = []
    pad, own = _pad_of(config), tokenizer.pad_token_id
    if pad not in (None, own):
        found.append(f"its configuration names padding token {pad}, its tokenizer {own}: {own}")
    loss, wanted = getattr(config, "problem_type", None), kwargs.get("problem_type")
    if wanted is not None and loss not in (None, wanted):
        found.append(f"its configuration says problem_type {loss}, the task {wanted}: the task's")
    head = (getattr(config, "architectures", None) or [""])[0]
    if auto_class != CAUSAL_LM and head.endswith(_DRAWN_HEADS):
        found.append(
            f"it was fine-tuned before ({head}, {config.num_labels} labels): its head is drawn "
            f"anew for the task's {kwargs.get('num_labels')}"
        )
    return tuple(f"model {model.source}: {line}" for line in found)


def require_positions(model: ModelSettings, length: int, key: str) -> None:
    """Checks that a model has positions for texts of so many tokens.

    Args:
        model: Where it comes from.
        length: Tokens.
        key: Where the length is set: a key, or a file and a key.

    Raises:
        ConfigError: It has fewer.
    """
    most = fit_positions(model, length)
    if most < length:
        raise ConfigError(
            f"{key} {length}: expected at most {most}, the positions of model {model.source}; "
            "lower it, or choose a model that reads more"
        )


def fit_positions(model: ModelSettings, length: int) -> int:
    """Returns a length in tokens, or what the model has positions for if that is less."""
    config = load_config(model)
    positions = int(getattr(config.get_text_config(), "max_position_embeddings", None) or 0)
    if positions <= 0:  # they are relative
        return length
    if length < positions - (_pad_of(config) or 0):  # no need to look into the model
        return length
    return min(length, positions - _skipped_positions(config))


def align_pad_token(tokenizer: Any, config: Any, source: str) -> None:
    """Gives a tokenizer the padding token that tokenizer, collator and model share.

    Its own; without one, or with one that the model has no embedding of, its end token. Where
    positions are counted from the configuration's padding token, that one.

    Args:
        tokenizer: Is changed.
        config: From ``load_config``.
        source: The model's, for messages.

    Raises:
        ConfigError: The tokenizer lacks the token from which positions are counted.
    """
    size = getattr(config.get_text_config(), "vocab_size", None) or len(tokenizer)
    if tokenizer.pad_token is None or tokenizer.pad_token_id >= size:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    pad = _pad_of(config)
    if pad is None or pad == tokenizer.pad_token_id or not _skipped_positions(config):
        return
    if not 0 <= pad < len(tokenizer):
        raise ConfigError(
            f"model.source: {source}: pad_token_id {pad}, from which positions are counted: "
            f"expected a token of its tokenizer, which has {len(tokenizer)}; use the model's own"
        )
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(pad)


def find_end_tokens(model: Any, tokenizer: Any) -> list[int]:
    """Returns the tokens at which a response ends: the tokenizer's and the model's, sorted."""
    settings = getattr(model, "generation_config", None)
    found: set[int] = set()
    for ends in (tokenizer.eos_token_id, getattr(settings, "eos_token_id", None)):
        found.update(ends if isinstance(ends, list | tuple) else [] if ends is None else [ends])
    return sorted(found)


def cut_at_end(tokens: Sequence[int], ends: Sequence[int]) -> list[int]:
    """Returns the tokens before the first end token."""
    return list(takewhile(lambda token: token not in ends, tokens))


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Silences progress bars, the load report and warnings that a fresh head always causes."""
    bars = transformers.utils.logging.is_progress_bar_enabled()
    level = transformers.utils.logging.get_verbosity()
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers.utils.logging.set_verbosity(level)
        if bars:
            transformers.utils.logging.enable_progress_bar()


def first_line(error: Exception) -> str:
    """Returns the first line of an error's message, or its type."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _pad_of(config: Any) -> int | None:
    pad = getattr(config.get_text_config(), "pad_token_id", None)
    return None if pad is None else int(pad)


def _skipped_positions(config: Any) -> int:
    """Returns how many rows of the table of positions no token has; 0 for most models.

    RoBERTa and its like count positions from the padding token's id on, and their tables say so.
    Looked up in an empty model of one layer, which takes no memory.
    """
    single = deepcopy(config)
    single.num_hidden_layers = 1
    if getattr(single, "layer_types", None):
        single.layer_types = list(single.layer_types)[:1]
    try:
        with torch.device("meta"), quiet_loading():
            empty = transformers.AutoModel.from_config(single)
    except Exception:  # one that cannot be built of a layer, or at all: loading it will tell
        return 0
    rows = getattr(config.get_text_config(), "max_position_embeddings", None)
    for name, table in empty.named_modules():
        start = getattr(table, "padding_idx", None)
        if start is not None and "position" in name and len(table.weight) == rows:
            return int(start) + 1
    return 0


def _cut_layers(config: Any, model: ModelSettings) -> None:
    have = int(config.num_hidden_layers)
    assert model.layers is not None
    if model.layers > have:
        raise ConfigError(f"model.layers: {model.source} has {have} layers, got {model.layers}")
    config.num_hidden_layers = model.layers
    if getattr(config, "layer_types", None):
        config.layer_types = list(config.layer_types)[: model.layers]
