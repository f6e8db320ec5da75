"""Logits of several runs of a pack at once, without padding and without gradients."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from phasewise.tasks.examples import Feature
from phasewise.training.device import is_out_of_memory
from phasewise.training.packed.layout import Member
from phasewise.training.packed.model import PackedModel
from phasewise.training.packed.token_losses import TokenLosses
from phasewise.training.prediction import Collate, drop_targets

#: Tokens of a forward pass: enough to fill the device, few enough to stay in a CPU's cache.
_TOKENS = {"cpu": 1024, "cuda": 32768}


class Request(NamedTuple):
    """A member, and the rows whose logits are wanted."""

    member: Member
    features: Sequence[Feature]


class _Row(NamedTuple):
    request: int
    feature: int


def predict_together(
    packed: PackedModel,
    requests: Sequence[Request],
    collate: Collate,
    *,
    device: torch.device,
    context: Callable[[], AbstractContextManager[None]],
) -> list[NDArray[Any]]:
    """Returns each request's logits, (features, classes), in the order of its features.

    Of a language model float64 (features, 3): each response's summed loss, number of tokens and
    of those that no other token is more likely than.

    Args:
        packed: Left in training mode.
        requests: Any number, of one task; each with at least one feature.
        collate: From ``build_collator``.
        device: Where the model lies.
        context: Makes the autocast context.

    Raises:
        RuntimeError: Memory does not suffice for a single row, or anything else.
    """
    budget = _TOKENS.get(device.type, _TOKENS["cpu"])
    waiting, found = _sort_rows(requests), dict[_Row, NDArray[Any]]()
    packed.train(False)
    try:
        while waiting:
            rows = _take_rows(waiting, requests, budget)
            try:
                with torch.inference_mode(), context():
                    logits = _predict_rows(packed, rows, requests, collate, device)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or len(rows) == 1:
                    raise
                budget = budget // 2
                continue
            found.update(zip(rows, logits, strict=True))
            waiting = waiting[len(rows) :]
    finally:
        packed.train(True)
    return [
        np.stack([found[_Row(number, index)] for index in range(len(request.features))])
        for number, request in enumerate(requests)
    ]


def _length(requests: Sequence[Request], row: _Row) -> int:
    return len(requests[row.request].features[row.feature]["input_ids"])


def _sort_rows(requests: Sequence[Request]) -> list[_Row]:
    """Returns all rows, the longest of every request first."""
    rows = [
        _Row(number, index)
        for number, request in enumerate(requests)
        for index in range(len(request.features))
    ]
    return sorted(rows, key=lambda row: -_length(requests, row))


def _take_rows(waiting: Sequence[_Row], requests: Sequence[Request], budget: int) -> list[_Row]:
    """Returns the first rows that make up at most ``budget`` tokens, or the first one."""
    count, tokens = 0, 0
    for row in waiting:
        tokens += _length(requests, row)
        if count and tokens > budget:
            break
        count += 1
    return list(waiting[:count])


def _predict_rows(
    packed: PackedModel,
    rows: Sequence[_Row],
    requests: Sequence[Request],
    collate: Collate,
    device: torch.device,
) -> NDArray[Any]:
    """Returns what ``predict_together`` does of some rows, in their order."""
    order = sorted(range(len(rows)), key=lambda place: rows[place].request)
    chosen = [rows[place] for place in order]
    features = [requests[row.request].features[row.feature] for row in chosen]
    members = list(_count_rows(chosen, requests))
    if np.ndim(features[0]["labels"]) == 0:
        features = [drop_targets(feature) for feature in features]
    batch = {name: tensor.to(device) for name, tensor in collate(features).items()}
    if "labels" in batch:
        found = _sum_rows(packed.measure(members, batch, batch.pop("labels")))
    else:
        found = packed(members, batch).float().cpu().numpy()
    restored = np.empty_like(found)
    restored[order] = found
    return restored


def _sum_rows(found: TokenLosses) -> NDArray[np.float64]:
    """Returns the sum of each row's losses, their number and that of the right ones, (rows, 3)."""
    assert found.right is not None
    counts = list(found.counts)
    sums, right = (
        [float(own.double().sum()) for own in torch.split(each.cpu(), counts)]
        for each in (found.losses, found.right)
    )
    return np.array([sums, counts, right], dtype=np.float64).T


def _count_rows(rows: Sequence[_Row], requests: Sequence[Request]) -> Iterator[tuple[Member, int]]:
    for number, request in enumerate(requests):
        count = sum(row.request == number for row in rows)
        if count:
            yield request.member, count


class PackScores:
    """The logits of packed runs, several at once where the engine knows what will be asked.

    Args:
        device: Where the packs' models lie.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._members: dict[int, tuple[PackedModel, Member]] = {}
        # Features are held too, so that their ids stay unique.
        self._ahead: dict[tuple[int, int], tuple[Sequence[Feature], NDArray[Any]]] = {}

    def add(self, model: Any, packed: PackedModel, member: Member) -> None:
        """Takes the pack and the member that a run's own model belongs to."""
        self._members[id(model)] = (packed, member)

    def drop(self, model: Any) -> None:
        """Forgets a model and what was not asked of it."""
        self._members.pop(id(model), None)
        for key in [key for key in self._ahead if key[0] == id(model)]:
            del self._ahead[key]

    def knows(self, model: Any) -> bool:
        """Whether a model is a packed run's."""
        return id(model) in self._members

    def prepare(
        self,
        asked: Sequence[tuple[Any, Sequence[Feature]]],
        collate: Collate,
        context: Callable[[], AbstractContextManager[None]],
    ) -> None:
        """Computes what ``predict`` will be asked next: models of one pack with their features."""
        packed, _ = self._members[id(asked[0][0])]
        requests = [Request(self._members[id(model)][1], features) for model, features in asked]
        answers = predict_together(packed, requests, collate, device=self._device, context=context)
        for (model, features), logits in zip(asked, answers, strict=True):
            self._ahead[id(model), id(features)] = (features, logits)

    def predict(
        self,
        model: Any,
        features: Sequence[Feature],
        collate: Collate,
        context: Callable[[], AbstractContextManager[None]],
    ) -> NDArray[Any]:
        """Returns what ``predict_together`` does for a model's features."""
        if (id(model), id(features)) not in self._ahead:
            self.prepare([(model, features)], collate, context)
        return self._ahead.pop((id(model), id(features)))[1]
