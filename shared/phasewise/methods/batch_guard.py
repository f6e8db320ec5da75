"""A model that scores a row otherwise in a batch than alone is refused, and the cause is named."""

from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from phasewise.errors import ConfigError
from phasewise.methods.fresh import initialize_fresh

#: Words of which the rows are made, and their lengths in tokens.
_WORDS = [f"word {number}" for number in range(12)]
_LENGTHS = (6, 12, 8, 10)
#: Largest difference of a logit, of the largest one, that is rounding; bfloat16 has 8 bits.
_TOLERANCE = {torch.float32: 1e-4}
_COARSE_TOLERANCE = 5e-2
#: Fresh heads that are tried, beside the first.
_HEADS = 3
#: What has passed in this process.
_passed: set[Hashable] = set()

Row = dict[str, torch.Tensor]


def require_rows_apart(
    model: Any, fresh: Sequence[str], tokenizer: Any, source: str, folder: Path
) -> None:
    """Checks that four rows have the scores in a padded batch that they have alone.

    Five forward passes, once per process and state of a model's files; nothing is drawn from
    torch's generators. A model that cannot be run so is left to whoever runs it.

    Args:
        model: In evaluation mode, as it was loaded.
        fresh: Names of its modules without pretrained weights.
        tokenizer: Its own, with the padding token that batches are filled with.
        source: The model's, for the message.
        folder: The model's files, if they lie in a folder.

    Raises:
        ConfigError: The scores differ by more than rounding.
    """
    key = _describe_state(model, tokenizer, folder)
    if key in _passed:
        return
    try:
        difference = _measure(model, fresh, tokenizer)
        cause = _find_cause(model, tokenizer) if difference > _tolerance(model) else ""
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError):
        return
    if cause:
        raise ConfigError(
            f"model.source: {source}: expected a row's scores to be the same alone and in a batch, "
            f"they differ by {difference:.2g} of the largest: {cause}; choose another model"
        )
    _passed.add(key)


def _describe_state(model: Any, tokenizer: Any, folder: Path) -> Hashable:
    """Returns what the answer hangs on; the state of files as their sizes and times."""
    files = [(f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in sorted(folder.glob("*"))]
    layers = getattr(model.config.get_text_config(), "num_hidden_layers", None)
    kind = (type(model).__name__, str(model.dtype), str(model.device), _tolerance(model))
    return (str(folder), *files, *kind, layers, tokenizer.pad_token_id)


def _measure(model: Any, fresh: Sequence[str], tokenizer: Any) -> float:
    """Returns how far scores differ.

    In half precision the smallest of several heads', if it is fresh: now and then one is drawn
    whose scores are so small that rounding alone exceeds the tolerance. No run uses it.
    """
    rows = list(_make_rows(tokenizer, _LENGTHS))
    difference = _compare(model, tokenizer, rows)
    for _ in range(_HEADS if fresh and _tolerance(model) == _COARSE_TOLERANCE else 0):
        if difference <= _tolerance(model):
            break
        with torch.random.fork_rng([model.device] if model.device.type == "cuda" else []):
            for name in fresh:
                initialize_fresh(model, model.get_submodule(name))
        difference = min(difference, _compare(model, tokenizer, rows))
    return difference


def _find_cause(model: Any, tokenizer: Any) -> str:
    pad = getattr(model.config.get_text_config(), "pad_token_id", None)
    if pad != tokenizer.pad_token_id:
        own = tokenizer.pad_token_id
        return f"its configuration names padding token {pad}, its tokenizer {own}"
    alike = list(_make_rows(tokenizer, (min(_LENGTHS),) * len(_LENGTHS)))
    family = model.config.model_type
    if _compare(model, tokenizer, alike) > _tolerance(model):
        return f"rows change each other in its architecture ({family}), padding or not"
    return f"its architecture ({family}) reads the padding"


def _make_rows(tokenizer: Any, lengths: Sequence[int]) -> Iterator[Row]:
    """Yields rows of so many tokens, special ones among them, if the tokenizer knows words."""
    for start, length in enumerate(lengths):
        text = " ".join([*_WORDS[start:], *_WORDS[:start]])
        encoded = tokenizer(text, truncation=True, max_length=length)
        yield {name: torch.tensor(values) for name, values in encoded.items()}


def _compare(model: Any, tokenizer: Any, rows: Sequence[Row]) -> float:
    """Returns the largest difference of a score, of the largest score; 0 where one is NaN."""
    lengths = [len(row["input_ids"]) for row in rows]
    fill = {
        "input_ids": int(tokenizer.pad_token_id),
        "token_type_ids": int(getattr(tokenizer, "pad_token_type_id", 0) or 0),
    }
    together = {
        name: pad_sequence([row[name] for row in rows], True, fill.get(name, 0)) for name in rows[0]
    }
    batch = _score(model, together, lengths)
    alone = [
        _score(model, {name: values[None] for name, values in row.items()}, [length])[0]
        for row, length in zip(rows, lengths, strict=True)
    ]
    largest = max(float(scores.abs().max()) for scores in alone)
    apart = max(float((one - two).abs().max()) for one, two in zip(alone, batch, strict=True))
    return apart / largest if apart > 0 and largest > 0 else 0.0


def _score(model: Any, batch: Row, lengths: Sequence[int]) -> list[torch.Tensor]:
    """Returns each row's scores, those of its tokens if there are such: padding has none."""
    with torch.inference_mode():
        output = model(**{name: values.to(model.device) for name, values in batch.items()})
    if hasattr(output, "start_logits"):
        scores = torch.stack([output.start_logits, output.end_logits], dim=2)
    else:
        scores = output.logits if hasattr(output, "logits") else output.last_hidden_state
    return [
        row[:length].float() if scores.ndim > 2 else row.float()
        for row, length in zip(scores, lengths, strict=True)
    ]


def _tolerance(model: Any) -> float:
    quantized = getattr(model, "quantization_method", None) is not None
    return _COARSE_TOLERANCE if quantized else _TOLERANCE.get(model.dtype, _COARSE_TOLERANCE)
