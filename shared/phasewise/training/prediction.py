"""Runs features through a model for scoring: length-sorted, padded to the longest of each batch."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from phasewise.tasks.examples import Feature, Outputs
from phasewise.training.device import is_out_of_memory

Collate = Callable[[Sequence[Feature]], dict[str, torch.Tensor]]

#: Targets, which only training needs.
_TARGETS = {"labels", "start_positions", "end_positions"}


def predict(
    model: Any,
    features: Sequence[Feature],
    collate: Collate,
    *,
    batch_size: int,
    device: torch.device,
    context: Callable[[], AbstractContextManager[None]],
) -> Outputs:
    """Returns the model's logits for the features, in their order.

    Args:
        model: Left in evaluation mode.
        features: At least one.
        collate: From ``build_collator``.
        batch_size: Rows a forward pass; halved where memory runs out.
        device: Where the model lies.
        context: Makes the autocast context.

    Returns:
        classification: float32 (features, classes). extractive_qa: two of float32 (features,
        tokens), start and end, rows filled with zeros beyond their own length.
    """
    model.eval()
    order = np.argsort([-len(feature["input_ids"]) for feature in features], kind="stable")
    rows: list[tuple[NDArray[Any], ...]] = []  # in the order of `order`
    while len(rows) < len(order):
        chosen = order[len(rows) : len(rows) + batch_size]
        inputs = [drop_targets(features[index]) for index in chosen]
        try:
            with torch.inference_mode(), context():
                batch = {name: t.to(device) for name, t in collate(inputs).items()}
                outputs = _select_logits(model(**batch))
                arrays = [output.float().cpu().numpy() for output in outputs]
        except RuntimeError as error:
            if not is_out_of_memory(error) or batch_size == 1:
                raise
            batch_size = max(1, batch_size // 2)
            continue
        rows.extend(zip(*arrays, strict=True))
    stacked = tuple(_restore([row[part] for row in rows], order) for part in range(len(rows[0])))
    return stacked[0] if len(stacked) == 1 else (stacked[0], stacked[1])


def drop_targets(feature: Feature) -> Feature:
    """Returns a feature without what only training needs."""
    return {name: value for name, value in feature.items() if name not in _TARGETS}


def _select_logits(output: Any) -> tuple[torch.Tensor, ...]:
    if hasattr(output, "start_logits"):
        return (output.start_logits, output.end_logits)
    return (output.logits,)


def _restore(rows: Sequence[NDArray[Any]], order: NDArray[np.intp]) -> NDArray[Any]:
    """Returns the rows as one array (rows, longest), back in the order of the features."""
    restored = np.zeros((len(rows), max(len(row) for row in rows)), dtype=np.float32)
    for position, row in zip(order, rows, strict=True):
        restored[position, : len(row)] = row
    return restored
