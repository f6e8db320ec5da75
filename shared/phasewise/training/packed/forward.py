"""One step of some runs of a pack: their losses and gradients, or none of them."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 - as everywhere

from phasewise.training.packed.layout import Member
from phasewise.training.packed.model import PackedModel
from phasewise.training.packed.run import PackedRun
from phasewise.training.prediction import Collate


class RunStep(NamedTuple):
    """What one forward and backward pass gave a run."""

    loss: float
    grads: list[torch.Tensor | None]
    tokens: int


def compute_steps(
    packed: PackedModel,
    runs: Sequence[PackedRun],
    collate: Collate,
    device: torch.device,
    context: Callable[[], AbstractContextManager[None]],
) -> list[RunStep]:
    """Returns loss and gradients of each run's micro-batch; the runs stay as they were.

    Args:
        packed: In training mode.
        runs: At least one.
        collate: From ``build_collator``.
        device: Where the model lies.
        context: Makes the autocast context.

    Raises:
        RuntimeError: Memory ran out, or anything else; the runs' random streams are put back.
    """
    places = [run.member.stream.state for run in runs]
    try:
        return _compute(packed, runs, collate, device, context)
    except Exception:
        for run, place in zip(runs, places, strict=True):
            run.member.stream.put_back(place)
        raise


def _compute(
    packed: PackedModel,
    runs: Sequence[PackedRun],
    collate: Collate,
    device: torch.device,
    context: Callable[[], AbstractContextManager[None]],
) -> list[RunStep]:
    counts = [len(run.batch.features) for run in runs]
    features = [feature for run in runs for feature in run.batch.features]
    batch = {name: tensor.to(device) for name, tensor in collate(features).items()}
    tokens = [int(part.sum()) for part in torch.split(batch["attention_mask"], counts)]
    members = [(run.member, count) for run, count in zip(runs, counts, strict=True)]
    with context():
        sums = _sum_losses(packed, members, batch)
    losses = [own / run.batch.targets for run, own in zip(runs, sums, strict=True)]
    parameters: list[Any] = [p for run in runs for p in run.parameters]
    stacked = torch.stack(losses)
    grads = iter(torch.autograd.grad(stacked.sum(), parameters, allow_unused=True))
    return [
        RunStep(loss, [next(grads) for _ in run.parameters], count)
        for run, loss, count in zip(runs, stacked.tolist(), tokens, strict=True)
    ]


def _sum_losses(
    packed: PackedModel, members: Sequence[tuple[Member, int]], batch: dict[str, torch.Tensor]
) -> list[torch.Tensor]:
    """Returns the summed loss of each member's rows, or of their tokens that are targets."""
    labels, counts = batch.pop("labels"), [count for _, count in members]
    if labels.ndim == 1:
        both = zip(
            torch.split(packed(members, batch), counts), torch.split(labels, counts), strict=True
        )
        return [F.cross_entropy(own.float(), targets, reduction="sum") for own, targets in both]
    losses, of_rows = packed.measure(members, batch, labels)
    ends = [0, *accumulate(counts)]
    sizes = [sum(of_rows[start:end]) for start, end in pairwise(ends)]
    return [own.sum() for own in torch.split(losses, sizes)]
