"""Batches of features as tensors, padded or packed; the only module of ``tasks`` with torch."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from phasewise.errors import ConfigError
from phasewise.tasks.examples import Feature

if TYPE_CHECKING:
    import torch


def build_collator(tokenizer: Any) -> Callable[[Sequence[Feature]], dict[str, "torch.Tensor"]]:
    """Returns a function from features to int64 tensors, (batch, longest of it) or (batch,).

    Rows are padded on the right whatever the tokenizer prefers: positions of spans count from the
    left, and transformers' sequence heads look for the last token that is not padding.

    Raises:
        ConfigError: The tokenizer has no padding token.
    """
    import torch

    if tokenizer.pad_token_id is None:
        raise ConfigError(
            f"{type(tokenizer).__name__} has no padding token; "
            "expected the model's loader to choose one (usually the end-of-text token)"
        )
    fill = {
        "labels": -100,  # only responses of instruction tasks: a class is no array
        "input_ids": int(tokenizer.pad_token_id),
        "token_type_ids": int(getattr(tokenizer, "pad_token_type_id", 0) or 0),
    }

    def _collate(features: Sequence[Feature]) -> dict[str, torch.Tensor]:
        batch = {}
        for name, first in features[0].items():
            if np.ndim(first) == 0:
                batch[name] = torch.tensor([int(feature[name]) for feature in features])
                continue
            longest = max(len(feature[name]) for feature in features)
            rows = np.full((len(features), longest), fill.get(name, 0), dtype=np.int64)
            for row, feature in zip(rows, features, strict=True):
                row[: len(feature[name])] = feature[name]
            batch[name] = torch.from_numpy(rows)  # (batch, longest)
        return batch

    return _collate


def build_packing_collator(
    tokenizer: Any, capacity: int
) -> Callable[[Sequence[Feature]], dict[str, "torch.Tensor"]]:
    """Returns a function that lays examples one after the other in rows of ``capacity`` tokens.

    Positions start anew with each example, and there is no attention mask: transformers' decoders
    then keep the examples of a row apart (``find_packed_sequence_indices``), so that each has the
    loss it has alone. Padding is a target nowhere and an example to nobody.

    Args:
        tokenizer: The model's.
        capacity: Tokens a row; no feature may be longer.

    Returns:
        A function from features to int64 tensors: ``input_ids``, ``labels`` and ``position_ids``
        (rows, longest row), and ``token_count`` (), padding not counted.
    """
    import torch

    fill = {"input_ids": int(tokenizer.pad_token_id), "labels": -100, "position_ids": 0}

    def _collate(features: Sequence[Feature]) -> dict[str, torch.Tensor]:
        rows = _fill_rows([len(feature["input_ids"]) for feature in features], capacity)
        longest = max(sum(len(features[i]["input_ids"]) for i in row) for row in rows)
        batch = {
            name: np.full((len(rows), longest), value, dtype=np.int64)
            for name, value in fill.items()
        }
        for number, row in enumerate(rows):
            start = 0
            for feature in (features[index] for index in row):
                end = start + len(feature["input_ids"])
                batch["input_ids"][number, start:end] = feature["input_ids"]
                batch["labels"][number, start:end] = feature["labels"]
                batch["position_ids"][number, start:end] = np.arange(end - start)
                start = end
        tensors = {name: torch.from_numpy(rows) for name, rows in batch.items()}
        count = sum(len(feature["input_ids"]) for feature in features)
        return {**tensors, "token_count": torch.tensor(count)}

    return _collate


def _fill_rows(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Returns which features lie in which row: longest first, each where it first fits."""
    rows: list[list[int]] = []
    left: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        place = next((row for row, room in enumerate(left) if room >= lengths[index]), None)
        if place is None:
            rows.append([])
            left.append(capacity)
            place = len(rows) - 1
        rows[place].append(index)
        left[place] -= lengths[index]
    return rows
