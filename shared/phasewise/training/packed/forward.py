"""One step of some runs of a pack: their losses and gradients, or none of them."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from itertools import accumulate, pairwise
from typing import NamedTuple, TypeVar

import torch
import torch.nn.functional as F  # noqa: N812 - as everywhere

from phasewise.training.packed.layout import Member
from phasewise.training.packed.model import PackedModel
from phasewise.training.packed.run import PackedRun
from phasewise.training.packed.token_losses import TokenLosses
from phasewise.training.prediction import Collate

Number = TypeVar("Number", int, float)


class RunStep(NamedTuple):
    """What one forward and backward pass gave a run; its next pass may overwrite the gradients."""

    loss: float
    grads: list[torch.Tensor | None]
    tokens: int


def take_pass(runs: Sequence[PackedRun], most_tokens: int | None) -> Sequence[PackedRun]:
    """Returns the first runs whose micro-batches have at most so many tokens; at least one."""
    if most_tokens is None:
        return runs
    sizes = (sum(len(row["input_ids"]) for row in run.batch.features) for run in runs)
    ends = enumerate(accumulate(sizes))
    return runs[: next((max(1, place) for place, end in ends if end > most_tokens), len(runs))]


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
    tokens = _add_up(batch["attention_mask"].sum(1).tolist(), counts)
    members = [(run.member, count) for run, count in zip(runs, counts, strict=True)]
    with context():
        losses, of_rows, _ = _find_losses(packed, members, batch)
    sizes = _add_up(of_rows, counts)
    shares = [share for run, size in zip(runs, sizes, strict=True) for share in run.shares(size)]
    shared = losses * torch.tensor(shares, device=losses.device)
    grads = find_gradients(shared.sum(), [(run.member, run.parameters) for run in runs])
    return list(map(RunStep, _add_up(shared.tolist(), sizes), grads, tokens))


def find_gradients(
    loss: torch.Tensor, runs: Sequence[tuple[Member, Sequence[torch.Tensor]]]
) -> list[list[torch.Tensor | None]]:
    """Returns the gradients of each run's weights; those that are written directly stay its own.

    Args:
        loss: Of one pass of the runs.
        runs: Each member with its weights.
    """
    direct = [member.direct for member, _ in runs if member.direct is not None]
    written = {key: grad for own in direct for key, grad in own.grads.items()}
    asked = [weight for _, weights in runs for weight in weights if id(weight) not in written]
    asked += [own.anchor for own in direct]
    found = iter(torch.autograd.grad(loss, asked, allow_unused=True))
    return [
        [written[id(w)] if id(w) in written else next(found) for w in weights]
        for _, weights in runs
    ]


def _find_losses(
    packed: PackedModel, members: Sequence[tuple[Member, int]], batch: dict[str, torch.Tensor]
) -> TokenLosses:
    """Returns the loss of each row, or of each token that is a target, in the order of the rows."""
    labels = batch.pop("labels")
    if labels.ndim > 1:
        return packed.measure(members, batch, labels)
    logits = packed(members, batch).float()
    return TokenLosses(F.cross_entropy(logits, labels, reduction="none"), (1,) * len(labels))


def _add_up(values: Sequence[Number], counts: Sequence[int]) -> list[Number]:
    """Returns the sums of parts of ``counts`` values each, one after the other."""
    ends = accumulate(counts, initial=0)
    return [sum(values[start:end]) for start, end in pairwise(ends)]
