"""Batches: the order of rows, micro-batches that fit in memory, the steps that are scored."""

from collections.abc import Iterator
from math import ceil

import torch
from torch.utils.data import Sampler


class EpochShuffle(Sampler[int]):
    """A new permutation of the rows each epoch, from a stream of its own.

    Dropout draws from torch's global generator; the order of the rows does not.

    Args:
        rows: Number of rows.
        seed: ``RunSeeds.order``.
    """

    def __init__(self, rows: int, seed: int) -> None:
        self._rows = rows
        self._generator = torch.Generator().manual_seed(seed)

    def __iter__(self) -> Iterator[int]:
        yield from torch.randperm(self._rows, generator=self._generator).tolist()

    def __len__(self) -> int:
        return self._rows


def largest_micro_batch(batch_size: int, limit: int) -> int:
    """Returns the largest divisor of ``batch_size`` that is at most ``limit`` (both >= 1).

    A divisor, so that accumulated micro-batches make up the very same effective batches.
    """
    return max(n for n in range(1, min(batch_size, limit) + 1) if batch_size % n == 0)


def find_evaluation_steps(
    *, rows: int, batch_size: int, epochs: float, per_epoch: int
) -> frozenset[int]:
    """Returns the optimiser steps after which the search set is scored; the last one always is.

    Args:
        rows: Of the train sample.
        batch_size: Effective.
        epochs: May be a fraction.
        per_epoch: Evaluations an epoch, evenly spread.
    """
    steps_per_epoch = ceil(rows / batch_size)
    last = ceil(steps_per_epoch * epochs)
    count = ceil(epochs * per_epoch)
    steps = {ceil(steps_per_epoch * index / per_epoch) for index in range(1, count + 1)}
    return frozenset({step for step in steps if step < last} | {last})
