"""Losses of response tokens; the logits of all of them never lie in memory at once."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 - as everywhere
from torch import nn

from phasewise.tasks.instruction import IGNORED
from phasewise.training.packed.layout import current_layout
from phasewise.training.products import OneDnnLinear, multiply, products_dtype

#: Logits that are held at a time, numbers: 64 MB on a CPU, where more would only leave its cache.
_MOST_LOGITS = {"cpu": 2**24, "cuda": 2**27}

#: Like ``F.linear``, without a gradient.
_Multiply = Callable[[torch.Tensor, torch.Tensor, torch.Tensor | None], torch.Tensor]


class Targets(NamedTuple):
    """The tokens that have a response's token to predict.

    Attributes:
        places: int64 (targets,), each one's place in the flattened padded batch.
        tokens: int64 (targets,), what comes next.
        counts: Targets of each row.
    """

    places: torch.Tensor
    tokens: torch.Tensor
    counts: tuple[int, ...]


class TokenLosses(NamedTuple):
    """What a language model made of some rows.

    Attributes:
        losses: float32 (targets,), row by row.
        counts: Targets of each row.
        right: bool (targets,), whether no other token is more likely; None: of classes.
    """

    losses: torch.Tensor
    counts: tuple[int, ...]
    right: torch.Tensor | None = None


def find_targets(labels: torch.Tensor) -> Targets:
    """Returns a batch's targets, row by row.

    Args:
        labels: int64 (rows, longest), ``IGNORED`` on prompts and padding.
    """
    following = F.pad(labels[:, 1:], (0, 1), value=IGNORED)  # each token predicts the next
    chosen = following != IGNORED
    places = chosen.flatten().nonzero().squeeze(1)
    return Targets(places, following[chosen], tuple(chosen.sum(dim=1).tolist()))


class TargetStates(nn.Module):
    """Stands in the place of an output layer: of all states keeps those that have a target."""

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Returns (targets, features) of (rows, longest, features)."""
        wanted = current_layout().wanted
        assert wanted is not None
        return states.flatten(0, 1).index_select(0, wanted)


def measure_losses(
    states: torch.Tensor, output: nn.Linear, tokens: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns each token's cross-entropy, float32, and whether no other is more likely: (targets,).

    Args:
        states: What the output layer sees, (targets, features).
        output: The frozen output layer, (vocabulary, features).
        tokens: int64 (targets,), the right ones.
    """
    dtype = products_dtype(states)
    product: _Multiply = F.linear
    if isinstance(output, OneDnnLinear) and dtype == torch.float32:
        product = multiply
    with torch.autocast(states.device.type, enabled=False):
        bias = None if output.bias is None else output.bias.to(dtype)
        found: tuple[torch.Tensor, torch.Tensor] = _TokenLosses.apply(  # type: ignore[no-untyped-call]
            states, output.weight.to(dtype), bias, tokens, product
        )
    return found


class _TokenLosses(torch.autograd.Function):
    """A token's loss hangs on its own state only, so that its gradient is known at once."""

    @staticmethod
    def forward(
        ctx: Any,
        states: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        tokens: torch.Tensor,
        product: _Multiply,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        most = _MOST_LOGITS.get(states.device.type, _MOST_LOGITS["cpu"])
        size = max(1, most // len(weight))
        losses = states.new_empty(len(states), dtype=torch.float32)
        hits = torch.empty_like(losses, dtype=torch.bool)
        grads = torch.empty_like(states) if ctx.needs_input_grad[0] else None
        for part in map(slice, range(0, len(states), size), range(size, len(states) + size, size)):
            logits = product(states[part].to(weight.dtype), weight, bias).float()
            right = tokens[part].unsqueeze(1)
            logits -= logits.amax(dim=1, keepdim=True)
            ahead = logits.gather(1, right)
            hits[part] = ahead.squeeze(1) == 0
            total = logits.exp_().sum(dim=1, keepdim=True)
            losses[part] = (total.log() - ahead).squeeze(1)
            if grads is not None:
                logits /= total  # now the probabilities; the right one's gradient is p - 1
                logits.scatter_add_(1, right, torch.full_like(ahead, -1))
                grads[part] = product(logits.to(weight.dtype), weight.t(), None)
        ctx.grads = grads
        ctx.mark_non_differentiable(hits)
        return losses, hits

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return ctx.grads * grads[0].unsqueeze(1).to(ctx.grads.dtype), None, None, None, None
