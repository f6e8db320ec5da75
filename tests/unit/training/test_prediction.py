from collections.abc import Sequence
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from phasewise.tasks.examples import Feature
from phasewise.training.prediction import predict

_LENGTHS = [3, 9, 1, 5, 5]


def _features() -> list[Feature]:
    return [{"input_ids": np.arange(n) + 10 * n, "labels": 1} for n in _LENGTHS]


def _collate(features: Sequence[Feature]) -> dict[str, torch.Tensor]:
    assert all("labels" not in feature for feature in features)
    longest = max(len(feature["input_ids"]) for feature in features)
    rows = [np.pad(f["input_ids"], (0, longest - len(f["input_ids"]))) for f in features]
    return {"input_ids": torch.tensor(np.stack(rows))}


class _Sums(torch.nn.Module):
    """Classifies by sums; refuses more rows than fit, as a full GPU would."""

    def __init__(self, fits: int = 100) -> None:
        super().__init__()
        self.fits = fits
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, input_ids: torch.Tensor) -> Any:
        if len(input_ids) > self.fits:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.shapes.append(tuple(input_ids.shape))
        return SimpleNamespace(logits=torch.stack([input_ids.sum(1), -input_ids.sum(1)], 1))


class _Spans(torch.nn.Module):
    def forward(self, input_ids: torch.Tensor) -> Any:
        return SimpleNamespace(start_logits=input_ids, end_logits=-input_ids)


def _predict(model: torch.nn.Module, batch_size: int) -> Any:
    return predict(
        model,
        _features(),
        _collate,
        batch_size=batch_size,
        device=torch.device("cpu"),
        context=nullcontext,
    )


def test_batches_are_sorted_by_length_and_outputs_are_not() -> None:
    model = _Sums()
    outputs = _predict(model, batch_size=2)
    assert model.shapes == [(2, 9), (2, 5), (1, 1)]
    sums = [sum(feature["input_ids"]) for feature in _features()]
    np.testing.assert_array_equal(outputs, np.array([[s, -s] for s in sums]))


def test_a_batch_that_does_not_fit_is_halved() -> None:
    model = _Sums(fits=2)
    np.testing.assert_array_equal(_predict(model, 5), _predict(_Sums(), 5))
    assert max(rows for rows, _ in model.shapes) == 2


def test_spans_are_padded_to_the_longest_row() -> None:
    starts, ends = _predict(_Spans(), batch_size=2)
    assert starts.shape == ends.shape == (5, 9)
    for row, feature in zip(starts, _features(), strict=True):
        np.testing.assert_array_equal(row[: len(feature["input_ids"])], feature["input_ids"])
    np.testing.assert_array_equal(ends, -starts)
