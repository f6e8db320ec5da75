"""The product of a frozen weight and all members' low-rank pairs, with no graph between them."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 - as everywhere
from torch import nn

from phasewise.training.packed.low_rank import LowRank, draw_keep
from phasewise.training.products import OneDnnLinear, multiply

#: Like ``F.linear``, without a gradient.
_Multiply = Callable[[torch.Tensor, torch.Tensor, torch.Tensor | None], torch.Tensor]


class PairOnRows(NamedTuple):
    """A member's pair with the rows it works on.

    Attributes:
        start: First row.
        end: One past the last row.
        pair: The member's.
        generator: Draws the dropout on the pair's input; None in evaluation mode.
    """

    start: int
    end: int
    pair: LowRank
    generator: torch.Generator | None

    @property
    def drops(self) -> bool:
        """Whether the pair's input loses parts to dropout."""
        return self.pair.dropout > 0 and self.generator is not None

    @property
    def is_simple(self) -> bool:
        """Whether ``apply_pairs`` knows it: all but DoRA whose input loses parts to dropout."""
        return self.pair.magnitude is None or not self.drops


class _Job(NamedTuple):
    """What the function below needs beside tensors."""

    multiply: _Multiply
    dtype: torch.dtype
    """Of the frozen product."""
    pair_dtype: torch.dtype
    """Of the pairs' products."""
    pairs: Sequence[PairOnRows]
    norms: list[torch.Tensor | None]


def apply_pairs(
    rows: torch.Tensor, frozen: nn.Linear, pairs: Sequence[PairOnRows], dtype: torch.dtype
) -> torch.Tensor:
    """Returns the adapted output, (rows, out), in ``dtype``.

    Args:
        rows: The layer's input, (rows, in).
        frozen: Its weight gets no gradient.
        pairs: Simple ones; rows of none get the frozen layer's output.
        dtype: Of the products.
    """
    product: _Multiply = F.linear
    if type(frozen) is OneDnnLinear and dtype == torch.float32:
        product = multiply
    norms = [None if p.pair.magnitude is None else p.pair.row_norms(frozen) for p in pairs]
    # On a CPU a product in bfloat16 is compiled for each new shape: more than a small one saves.
    pair_dtype = torch.float32 if rows.device.type == "cpu" else dtype
    job = _Job(product, dtype, pair_dtype, pairs, norms)
    tensors = [t for p in pairs for t in (p.pair.down, p.pair.up, p.pair.magnitude)]
    with torch.autocast(rows.device.type, enabled=False):
        out: torch.Tensor = _AdaptedProduct.apply(  # type: ignore[no-untyped-call]
            rows.to(dtype), frozen.weight.to(dtype), frozen.bias, job, *tensors
        )
    return out


class _AdaptedProduct(torch.autograd.Function):
    """``scale * (x W + s (keep x) A B) + b`` for each member's rows; scale is DoRA's, else 1."""

    @staticmethod
    def forward(
        ctx: Any,
        rows: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        job: _Job,
        *tensors: torch.Tensor | None,
    ) -> torch.Tensor:
        bias = None if bias is None else bias.to(job.dtype)
        scaled = any(norm is not None for norm in job.norms)
        out = job.multiply(rows, weight, None if scaled else bias)
        lows, keeps, bare = [], [], []
        for index, (start, end, pair, generator) in enumerate(job.pairs):
            own, keep = rows[start:end].to(job.pair_dtype), None
            if pair.dropout > 0 and generator is not None:
                keep = draw_keep(own.shape, pair.dropout, generator, own)
                own = own * keep
            low = own @ pair.down.to(job.pair_dtype).T
            part = out[start:end]
            _add_product(part, low.mul_(pair.scaling), pair.up.to(job.pair_dtype).T)
            bare.append(_scale_rows(part, pair, job.norms[index]))
            lows.append(low)
            keeps.append(keep)
        if scaled and bias is not None:
            out += bias
        ctx.job = job
        ctx.save_for_backward(rows, weight, *tensors, *lows, *keeps, *bare)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[Any, ...]:
        job, count = ctx.job, len(ctx.job.pairs)
        rows, weight, *rest = ctx.saved_tensors
        tensors, lows, keeps, bare = _cut(rest, (3 * count, count, count, count))
        grad, for_magnitudes = _unscale(grads[0], job, tensors[2::3], bare)
        passed = job.multiply(grad, weight.t(), None) if ctx.needs_input_grad[0] else None
        out: list[torch.Tensor | None] = []
        for index, (start, end, pair, _) in enumerate(job.pairs):
            down, up = (matrix.to(job.pair_dtype) for matrix in tensors[3 * index : 3 * index + 2])
            own, kept = (all_[start:end].to(job.pair_dtype) for all_ in (grad, rows))
            keep = keeps[index]
            grad_low = (own @ up).mul_(pair.scaling)
            to_down = grad_low.T @ (kept if keep is None else kept * keep)
            to_up = own.T @ lows[index]
            out += [to_down.to(pair.down.dtype), to_up.to(pair.up.dtype), for_magnitudes[index]]
            if passed is None:
                continue
            if keep is None:
                _add_product(passed[start:end], grad_low, down)
            else:
                passed[start:end] += (grad_low @ down).mul_(keep)
        return passed, None, None, None, *out


def _add_product(rows: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> None:
    if rows.dtype == left.dtype:
        rows.addmm_(left, right)
    else:
        rows += left @ right


def _scale_rows(
    part: torch.Tensor, pair: LowRank, norm: torch.Tensor | None
) -> torch.Tensor | None:
    """Multiplies by DoRA's scale in place; returns what was there before."""
    if norm is None or pair.magnitude is None:
        return None
    before = part.clone()
    part *= (pair.magnitude / norm).to(part.dtype)
    return before


def _unscale(
    grad: torch.Tensor,
    job: _Job,
    magnitudes: Sequence[torch.Tensor | None],
    bare: Sequence[torch.Tensor | None],
) -> tuple[torch.Tensor, list[torch.Tensor | None]]:
    """Returns the gradients of what DoRA scaled, and of its magnitudes."""
    if all(norm is None for norm in job.norms):
        return grad, [None] * len(bare)
    grad, found = grad.clone(), list[torch.Tensor | None]()
    for (start, end, *_), norm, magnitude, before in zip(
        job.pairs, job.norms, magnitudes, bare, strict=True
    ):
        if norm is None or magnitude is None or before is None:
            found.append(None)
            continue
        part = grad[start:end]
        found.append((part * before).sum(0, dtype=torch.float32) / norm)
        part *= (magnitude / norm).to(part.dtype)
    return grad, found


def _cut(items: Sequence[Any], sizes: Sequence[int]) -> list[list[Any]]:
    parts, start = [], 0
    for size in sizes:
        parts.append(list(items[start : start + size]))
        start += size
    return parts
