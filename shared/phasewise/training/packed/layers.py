"""The layers of a packed model that know whose rows they see."""

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - as everywhere
from torch import nn
from torch.func import functional_call

from phasewise.training.packed.layout import Span, current_layout, use_layout
from phasewise.training.packed.low_rank import LowRank, draw_keep


class PackedLinear(nn.Module):
    """A frozen linear layer, applied once to all rows, and each member's pair on its own rows.

    Args:
        frozen: The layer; its weight is shared, and no gradient of it is computed.
        name: The layer's name in the model.
    """

    def __init__(self, frozen: nn.Linear, name: str) -> None:
        super().__init__()
        self.frozen = frozen
        self.name = name

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Returns the adapted output of inputs (..., in)."""
        spans = current_layout().spans(inputs)
        rows = inputs.reshape(-1, inputs.shape[-1])
        pairs = [span.member.layers.get(self.name) for span in spans]
        plain = all(pair is None or pair.is_plain or self._is_exact(pair) for pair in pairs)
        if plain and not torch.is_autocast_enabled(rows.device.type):
            out = _apply_plain(rows, self.frozen, spans, pairs)
        else:
            out = self._apply_any(rows, spans, pairs)
        return out.view(*inputs.shape[:-1], -1)

    def _is_exact(self, pair: LowRank) -> bool:
        return pair.magnitude is None and not self.training

    def _apply_any(
        self, rows: torch.Tensor, spans: list[Span], pairs: list[LowRank | None]
    ) -> torch.Tensor:
        base = self.frozen(rows)
        parts = []
        for span, pair in zip(spans, pairs, strict=True):
            part = base[span.start : span.end]
            if pair is not None:
                generator = span.member.generator if self.training else None
                own = rows[span.start : span.end]
                part = pair.add_to(part, own, self.frozen, generator)
            parts.append(part)
        return torch.cat(parts)


class PackedHead(nn.Module):
    """A module that every member trains as its own: the head, sometimes a pooler.

    Args:
        template: The module; its weights are replaced by each member's.
        name: The module's name in the model.
    """

    def __init__(self, template: nn.Module, name: str) -> None:
        super().__init__()
        self.template = template
        self.name = name

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Returns the outputs for inputs (rows, ...), each member's by its own weights."""
        layout, parts = current_layout(), []
        for share in layout.shares:
            own = inputs[share.first_row : share.first_row + share.rows]
            weights = share.member.heads[self.name]
            with use_layout(layout.alone(share)):
                parts.append(functional_call(self.template, weights, (own,)))
        return torch.cat(parts)


class PackedDropout(nn.Module):
    """Dropout whose factors come from each member's own stream, whoever shares the pack.

    Args:
        p: Probability.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Returns (1, tokens, features) or (rows, ..., features) with parts set to zero."""
        if not self.training or self.p == 0:
            return inputs
        layout = current_layout()
        factors = torch.empty_like(inputs, memory_format=torch.contiguous_format)
        if inputs.ndim == 3 and not layout.is_flat(inputs):
            for share in layout.shares:  # what is drawn must not depend on the others' lengths
                own = factors[share.first_row : share.first_row + share.rows]
                shape = (share.rows, share.longest, inputs.shape[-1])
                drawn = draw_keep(shape, self.p, share.member.generator, inputs)
                own[:, : share.longest] = drawn
                own[:, share.longest :] = 0
            return inputs * factors
        flat = factors.view(-1, inputs.shape[-1])
        for span in layout.spans(inputs):
            part = flat[span.start : span.end]
            part.bernoulli_(1 - self.p, generator=span.member.generator)
        return inputs * factors.div_(1 - self.p)


def _apply_plain(
    rows: torch.Tensor, frozen: nn.Linear, spans: list[Span], pairs: list[LowRank | None]
) -> torch.Tensor:
    kept = [(s, p) for s, p in zip(spans, pairs, strict=True) if p is not None]
    if not kept:
        return F.linear(rows, frozen.weight, frozen.bias)
    bounds = [(span.start, span.end, pair.scaling) for span, pair in kept]
    matrices = [matrix for _, pair in kept for matrix in (pair.down, pair.up)]
    out: torch.Tensor = _Plain.apply(rows, frozen.weight, frozen.bias, bounds, *matrices)  # type: ignore[no-untyped-call]
    return out


class _Plain(torch.autograd.Function):
    """The frozen product and all pairs in place, with no graph between them."""

    @staticmethod
    def forward(
        ctx: Any,
        rows: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        bounds: list[tuple[int, int, float]],
        *matrices: torch.Tensor,
    ) -> torch.Tensor:
        out, lows = F.linear(rows, weight, bias), []
        for index, (start, end, scaling) in enumerate(bounds):
            down, up = matrices[2 * index : 2 * index + 2]
            low = rows[start:end] @ down.T
            out[start:end].addmm_(low, up.T, alpha=scaling)
            lows.append(low)
        ctx.bounds = bounds
        ctx.save_for_backward(rows, weight, *matrices, *lows)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[Any, ...]:
        grad = grads[0]
        rows, weight, *rest = ctx.saved_tensors
        count = 2 * len(ctx.bounds)
        matrices, lows = rest[:count], rest[count:]
        passed = grad @ weight if ctx.needs_input_grad[0] else None
        out: list[torch.Tensor] = []
        for index, (start, end, scaling) in enumerate(ctx.bounds):
            down, up = matrices[2 * index : 2 * index + 2]
            own = grad[start:end]
            grad_low = (own @ up).mul_(scaling)
            out += [grad_low.T @ rows[start:end], (own.T @ lows[index]).mul_(scaling)]
            if passed is not None:
                passed[start:end].addmm_(grad_low, down)
        return passed, None, None, None, *out
