"""The product of a frozen weight and all members' low-rank pairs, with no graph between them."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 - as everywhere
from torch import nn

from phasewise.training.packed.low_rank import LowRank, draw_keep, find_row_norms
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
    def drops_dora(self) -> bool:
        """Whether DoRA's correction is of other inputs than the frozen output: dropped ones."""
        return self.pair.magnitude is not None and self.drops


class _Job(NamedTuple):
    """What the function below needs beside tensors."""

    multiply: _Multiply
    dtype: torch.dtype
    """Of the frozen product."""
    pair_dtype: torch.dtype
    """Of the pairs' products."""
    pairs: Sequence[PairOnRows]
    norms: Sequence[torch.Tensor | None]
    """DoRA's, (out,), of each pair; None for all others."""
    scales: Sequence[torch.Tensor | None]
    """DoRA's magnitudes over their norms, (out,), float32: most differ little from 1."""


def apply_pairs(
    rows: torch.Tensor, frozen: nn.Linear, pairs: Sequence[PairOnRows], dtype: torch.dtype
) -> torch.Tensor:
    """Returns the adapted output, (rows, out), in ``dtype``.

    Args:
        rows: The layer's input, (rows, in).
        frozen: Its weight gets no gradient.
        pairs: At least one; rows of none get the frozen layer's output.
        dtype: Of the products.
    """
    product: _Multiply = F.linear
    if type(frozen) is OneDnnLinear and dtype == torch.float32:
        product = multiply
    # On a CPU a product in bfloat16 is compiled for each new shape: more than a small one saves.
    pair_dtype = torch.float32 if rows.device.type == "cpu" else dtype
    trains = any(on_rows.generator is not None for on_rows in pairs)
    norms = find_row_norms([on_rows.pair for on_rows in pairs], frozen, trains=trains)
    magnitudes = [on_rows.pair.magnitude for on_rows in pairs]
    scales = [
        None if norm is None or magnitude is None else magnitude.detach() / norm
        for norm, magnitude in zip(norms, magnitudes, strict=True)
    ]
    job = _Job(product, dtype, pair_dtype, pairs, norms, scales)
    tensors = [t for p in pairs for t in (p.pair.down, p.pair.up, p.pair.magnitude)]
    with torch.autocast(rows.device.type, enabled=False):
        out: torch.Tensor = _AdaptedProduct.apply(  # type: ignore[no-untyped-call]
            rows.to(dtype), frozen.weight.to(dtype), frozen.bias, job, *tensors
        )
    return out


class _AdaptedProduct(torch.autograd.Function):
    """For each member's rows x, its dropout's factors k, and c, DoRA's scale::

        y = x W + s (k x) A B + b                             LoRA
        y = c (x W + s x A B) + b                             DoRA without dropout
        y = x W + (c - 1) (k x) W + c s (k x) A B + b         DoRA with dropout, as PEFT has it

    What c multiplies is called lifted: x W + s x A B, or (k x) W + s (k x) A B.
    """

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
        is_dora = any(scale is not None for scale in job.scales)
        keeps = [_draw(rows, on_rows) for on_rows in job.pairs]
        out = job.multiply(rows, weight, None if is_dora else bias)
        dropped = [rows[p.start : p.end] * keep for p, keep in _find_dropped(job, keeps)]
        again = job.multiply(torch.cat(dropped), weight, None) if dropped else out[:0]
        lows, lifted, done = [], list[torch.Tensor | None](), 0
        for on_rows, keep, scale in zip(job.pairs, keeps, job.scales, strict=True):
            start, end, pair, _ = on_rows
            own = _inputs(rows, on_rows, keep, job.pair_dtype)
            low = (own @ pair.down.to(job.pair_dtype).T).mul_(pair.scaling)
            part = lift = out[start:end]
            if on_rows.drops_dora:
                lift = again[done : done + len(part)]
                done += len(part)
                part -= lift
            _add_product(lift, low, pair.up.to(job.pair_dtype).T)
            lows.append(low)
            if scale is None:
                lifted.append(None)
            elif on_rows.drops_dora:
                lifted.append(lift)
                part += lift * scale
            else:
                lifted.append(lift.clone())
                part *= scale
        if is_dora and bias is not None:
            out += bias
        ctx.job = job
        ctx.save_for_backward(rows, weight, *tensors, *lows, *keeps, *lifted)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[Any, ...]:
        job, count = ctx.job, len(ctx.job.pairs)
        rows, weight, *rest = ctx.saved_tensors
        tensors, lows, keeps, lifted = _cut(rest, (3 * count, count, count, count))
        grad, to_lifted, to_again = _scale_gradients(grads[0], job)
        passed = again = None
        if ctx.needs_input_grad[0]:
            passed = job.multiply(grad, weight.t(), None)
            again = job.multiply(torch.cat(to_again), weight.t(), None) if to_again else None
        out, done = list[torch.Tensor | None](), 0
        for index, on_rows in enumerate(job.pairs):
            start, end, pair, _ = on_rows
            down, up = (matrix.to(job.pair_dtype) for matrix in tensors[3 * index : 3 * index + 2])
            own, keep = to_lifted[index].to(job.pair_dtype), keeps[index]
            to_low = (own @ up).mul_(pair.scaling)
            to_down = to_low.T @ _inputs(rows, on_rows, keep, job.pair_dtype)
            to_up = own.T @ lows[index]
            to_magnitude = _grad_of_magnitude(grads[0][start:end], lifted[index], job.norms[index])
            out += [to_down.to(pair.down.dtype), to_up.to(pair.up.dtype), to_magnitude]
            if passed is None:
                continue
            if keep is None:
                _add_product(passed[start:end], to_low, down)
                continue
            to_inputs = to_low @ down
            if on_rows.drops_dora and again is not None:
                to_inputs += again[done : done + end - start]
                done += end - start
            passed[start:end] += to_inputs.mul_(keep)
        return passed, None, None, None, *out


def _draw(rows: torch.Tensor, on_rows: PairOnRows) -> torch.Tensor | None:
    """Returns the factors of a member's dropout, (its rows, in)."""
    if not on_rows.drops or on_rows.generator is None:
        return None
    own = rows[on_rows.start : on_rows.end]
    return draw_keep(own.shape, on_rows.pair.dropout, on_rows.generator, own)


def _find_dropped(
    job: _Job, keeps: Sequence[torch.Tensor | None]
) -> list[tuple[PairOnRows, torch.Tensor]]:
    """Returns the pairs whose dropped inputs need a frozen product of their own."""
    both = zip(job.pairs, keeps, strict=True)
    return [(p, keep) for p, keep in both if p.drops_dora and keep is not None]


def _inputs(
    rows: torch.Tensor, on_rows: PairOnRows, keep: torch.Tensor | None, dtype: torch.dtype
) -> torch.Tensor:
    """Returns what a member's pair sees, (its rows, in)."""
    own = rows[on_rows.start : on_rows.end]
    return (own if keep is None else own * keep).to(dtype)


def _add_product(rows: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> None:
    if rows.dtype == left.dtype:
        rows.addmm_(left, right)
    else:
        rows += left @ right


def _scale_gradients(
    grad: torch.Tensor, job: _Job
) -> tuple[torch.Tensor, list[torch.Tensor], list[torch.Tensor]]:
    """Returns the gradients of the frozen product, what is lifted, and dropped inputs' products."""
    parts = [grad[on_rows.start : on_rows.end] for on_rows in job.pairs]
    if all(scale is None for scale in job.scales):
        return grad, parts, []
    frozen, to_lifted, to_again = grad.clone(), list[torch.Tensor](), list[torch.Tensor]()
    for on_rows, part, scale in zip(job.pairs, parts, job.scales, strict=True):
        if scale is None:
            to_lifted.append(part)
        elif on_rows.drops_dora:
            to_lifted.append(part * scale)
            to_again.append((part * (scale - 1)).to(job.dtype))
        else:
            to_lifted.append(frozen[on_rows.start : on_rows.end].mul_(scale))
    return frozen, to_lifted, to_again


def _grad_of_magnitude(
    grad: torch.Tensor, lifted: torch.Tensor | None, norm: torch.Tensor | None
) -> torch.Tensor | None:
    if lifted is None or norm is None:
        return None
    return (grad * lifted).sum(0, dtype=torch.float32) / norm


def _cut(items: Sequence[Any], sizes: Sequence[int]) -> list[list[Any]]:
    parts, start = [], 0
    for size in sizes:
        parts.append(list(items[start : start + size]))
        start += size
    return parts
