"""Batches: the order of rows, micro-batches that fit in memory, the steps that are scored."""

from collections import Counter
from collections.abc import Iterator, Sequence
from math import ceil, sqrt

import torch
from torch.utils.data import Sampler

from phasewise.runs import RunConfig
from phasewise.settings import ClassWeights, count_steps
from phasewise.tasks.examples import Feature


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


class BalancedDraw(Sampler[int]):
    """As many draws per epoch as there are rows, with replacement; classes are equally likely.

    Args:
        labels: Class of each row.
        seed: ``RunSeeds.order``.
    """

    def __init__(self, labels: Sequence[int], seed: int) -> None:
        of_row = torch.as_tensor(labels)
        self._weights = 1.0 / torch.bincount(of_row)[of_row]
        self._generator = torch.Generator().manual_seed(seed)

    def __iter__(self) -> Iterator[int]:
        rows = len(self._weights)
        drawn = torch.multinomial(self._weights, rows, replacement=True, generator=self._generator)
        yield from drawn.tolist()

    def __len__(self) -> int:
        return len(self._weights)


class LengthGroups(Sampler[int]):
    """Rows of about one length in each batch, as far as an order of rows allows it.

    Of each 50 batches of that order, as in ``transformers.trainer_pt_utils.LengthGroupedSampler``,
    the rows are sorted by length and cut into batches. Unlike there, the batches are shuffled then:
    an epoch would go from long rows to short ones. A last batch that is not full keeps rows of the
    order's end, so that none is more likely to be in it.

    Args:
        order: Of the rows.
        lengths: Of each row, tokens.
        batch_size: Effective.
        seed: ``RunSeeds.order``.
    """

    _BATCHES = 50

    def __init__(
        self, order: Sampler[int], lengths: Sequence[int], batch_size: int, seed: int
    ) -> None:
        self._order, self._lengths, self._batch_size = order, lengths, batch_size
        self._generator = torch.Generator().manual_seed(seed)

    def __iter__(self) -> Iterator[int]:
        rows, size = list(self._order), self._batch_size
        full = len(rows) - len(rows) % size
        for first in range(0, full, self._BATCHES * size):
            group = rows[first : min(first + self._BATCHES * size, full)]
            group.sort(key=self._lengths.__getitem__)
            for batch in torch.randperm(len(group) // size, generator=self._generator).tolist():
                yield from group[batch * size : (batch + 1) * size]
        yield from rows[full:]

    def __len__(self) -> int:
        return len(self._lengths)


def order_rows(config: RunConfig, features: Sequence[Feature]) -> Sampler[int]:
    """Returns what draws a run's rows, anew each epoch.

    Args:
        config: The run's.
        features: The train sample.
    """
    hyperparameters, seed = config.hyperparameters, config.seeds.order
    order: Sampler[int] = EpochShuffle(len(features), seed)
    if hyperparameters.sampling == "balanced":
        order = BalancedDraw([int(feature["labels"]) for feature in features], seed)
    if not config.unit_config.training.group_by_length:
        return order
    lengths = [len(feature["input_ids"]) for feature in features]
    return LengthGroups(order, lengths, hyperparameters.batch_size, seed)


def weigh_classes(
    features: Sequence[Feature], weights: ClassWeights | None
) -> dict[int, float] | None:
    """Returns the weight of a row's loss by its class, with a mean of 1 over the rows; None: all 1.

    A batch's loss is the mean of its rows' weighted losses. Dividing by the batch's own sum of
    weights instead, as ``torch.nn.CrossEntropyLoss`` does, would undo them for batches of one row
    or one class.

    Args:
        features: The train sample.
        weights: ``Hyperparameters.class_weights``. balanced is King and Zeng, Logistic Regression
            in Rare Events Data, 2001, as scikit-learn has it; sqrt lies between it and none.
    """
    if weights in (None, "none"):
        return None
    rows = Counter(int(feature["labels"]) for feature in features)
    raw = {label: len(features) / (len(rows) * count) for label, count in rows.items()}
    if weights == "sqrt":
        raw = {label: sqrt(weight) for label, weight in raw.items()}
    mean = sum(raw[label] * count for label, count in rows.items()) / len(features)
    return {label: raw[label] / mean for label in sorted(raw)}


def largest_micro_batch(batch_size: int, limit: int) -> int:
    """Returns the largest divisor of ``batch_size`` that is at most ``limit`` (both >= 1).

    A divisor, so that accumulated micro-batches make up the very same effective batches.
    """
    return max(n for n in range(1, min(batch_size, limit) + 1) if batch_size % n == 0)


def find_evaluation_steps(
    *, rows: int, batch_size: int, epochs: float, per_epoch: int
) -> frozenset[int]:
    """Returns the optimizer steps after which the search set is scored; the last one always is.

    Args:
        rows: Of the train sample.
        batch_size: Effective.
        epochs: May be a fraction.
        per_epoch: Evaluations an epoch, evenly spread.
    """
    steps_per_epoch = ceil(rows / batch_size)
    last = count_steps(rows, batch_size, epochs)
    count = ceil(epochs * per_epoch)
    steps = {ceil(steps_per_epoch * index / per_epoch) for index in range(1, count + 1)}
    return frozenset({step for step in steps if step < last} | {last})
