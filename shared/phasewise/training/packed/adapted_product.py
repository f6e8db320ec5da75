"""The product of a frozen weight and all members' low-rank pairs, with no graph between them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from phasewise.training.dropout import DropoutMask, Stream
from phasewise.training.kernels.elementwise import drop_into
from phasewise.training.kernels.scaling import add_scaled, scale_copied, scale_gradient
from phasewise.training.packed.frozen_products import FrozenProduct
from phasewise.training.packed.low_rank import LowRank, find_row_norms
from phasewise.training.packed.pair_products import (
    CompiledProducts,
    PairGradients,
    PairInputs,
    PlainProducts,
    choose_products,
)
from phasewise.training.products import products_dtype


class PairOnRows(NamedTuple):
    """A member's pair with the rows it works on.

    Attributes:
        start: First row.
        end: One past the last row.
        pair: The member's.
        stream: Draws the dropout on the pair's input; None in evaluation mode.
    """

    start: int
    end: int
    pair: LowRank
    stream: Stream | None

    @property
    def drops(self) -> bool:
        """Whether the pair's input loses parts to dropout."""
        return self.pair.dropout > 0 and self.stream is not None

    @property
    def drops_dora(self) -> bool:
        """Whether DoRA's correction is of other inputs than the frozen output: dropped ones."""
        return self.pair.magnitude is not None and self.drops


class _Job(NamedTuple):
    """What the function below needs beside tensors."""

    frozen: FrozenProduct
    products: PlainProducts | CompiledProducts
    pairs: Sequence[PairOnRows]
    norms: Sequence[torch.Tensor | None]
    """DoRA's, (out,), of each pair; None for all others."""
    scales: Sequence[torch.Tensor | None]
    """DoRA's magnitudes over their norms, (out,), float32: most differ little from 1."""

    @property
    def is_dora(self) -> bool:
        return any(scale is not None for scale in self.scales)


def apply_pairs(
    rows: torch.Tensor, frozen: FrozenProduct, pairs: Sequence[PairOnRows]
) -> torch.Tensor:
    """Returns the adapted output, (rows, out), in the rows' type.

    Args:
        rows: The layer's input, (rows, in), in the type of the frozen product.
        frozen: The layer's.
        pairs: At least one; rows of none get the frozen layer's output.
    """
    trains = any(on_rows.stream is not None for on_rows in pairs)
    norms = find_row_norms([on_rows.pair for on_rows in pairs], frozen.layer, trains=trains)
    magnitudes = [on_rows.pair.magnitude for on_rows in pairs]
    scales = [
        None if norm is None or magnitude is None else magnitude.detach() / norm
        for norm, magnitude in zip(norms, magnitudes, strict=True)
    ]
    # On a CPU a product in bfloat16 is compiled for each new shape: more than a small one saves.
    pair_dtype = torch.float32 if rows.device.type == "cpu" else products_dtype(rows)
    weights = [weight for p in pairs for weight in (p.pair.down, p.pair.up)]
    products = choose_products(rows, weights, pair_dtype)
    job = _Job(frozen, products, pairs, norms, scales)
    tensors = [t for p in pairs for t in (p.pair.down, p.pair.up, p.pair.magnitude)]
    with torch.autocast(rows.device.type, enabled=False):
        out: torch.Tensor = _AdaptedProduct.apply(rows.contiguous(), job, *tensors)  # type: ignore[no-untyped-call]
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
        ctx: Any, rows: torch.Tensor, job: _Job, *tensors: torch.Tensor | None
    ) -> torch.Tensor:
        out = job.frozen.forward(rows, with_bias=not job.is_dora)
        draws = [_draw(rows, on_rows) for on_rows in job.pairs]
        pairs = _describe(rows, job, draws)
        lifts = _find_lifts(out, pairs, job)
        lows = job.products.add(pairs, lifts)
        lifted = _scale(out, lifts, job)
        if job.is_dora and job.frozen.layer.bias is not None:
            out += job.frozen.layer.bias.to(out.dtype)
        ctx.job, ctx.kept = job, [drawn and drawn[1:] for drawn in draws]
        ctx.save_for_backward(rows, *lows, *(drawn and drawn.bits for drawn in draws), *lifted)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[Any, ...]:
        job, count = ctx.job, len(ctx.job.pairs)
        rows, *rest = ctx.saved_tensors
        lows, bits, lifted = rest[:count], rest[count : 2 * count], rest[2 * count :]
        draws = [
            None if kept is None else DropoutMask(own, *kept)
            for own, kept in zip(bits, ctx.kept, strict=True)
        ]
        grad, to_lifted, to_again, to_scales = _scale_gradients(grads[0], lifted, job)
        passed, again = None, _spread(job, None)
        if ctx.needs_input_grad[0]:
            passed = job.frozen.backward(grad)
            again = _spread(job, None if to_again is None else job.frozen.backward(to_again))
        gradients = [
            PairGradients(low, own, None if passed is None else passed[p.start : p.end], more)
            for p, low, own, more in zip(job.pairs, lows, to_lifted, again, strict=True)
        ]
        found = job.products.differentiate(_describe(rows, job, draws), gradients)
        out = list[torch.Tensor | None]()
        for weights, to_scale, norm in zip(found, to_scales, job.norms, strict=True):
            out += [*weights, _grad_of_magnitude(to_scale, norm)]
        return passed, None, *out


def _draw(rows: torch.Tensor, on_rows: PairOnRows) -> DropoutMask | None:
    """Returns what a member's dropout keeps, (its rows, in)."""
    if not on_rows.drops or on_rows.stream is None:
        return None
    shape = (on_rows.end - on_rows.start, rows.shape[1])
    return on_rows.stream.draw(shape, on_rows.pair.dropout)


def _describe(
    rows: torch.Tensor, job: _Job, draws: Sequence[DropoutMask | None]
) -> list[PairInputs]:
    return [
        PairInputs(rows[start:end], pair.down, pair.up, pair.scaling, drawn)
        for (start, end, pair, _), drawn in zip(job.pairs, draws, strict=True)
    ]


def _find_lifts(out: torch.Tensor, pairs: Sequence[PairInputs], job: _Job) -> list[torch.Tensor]:
    """Returns what each pair's product is to be added to, (its rows, out).

    It is the pair's rows of the output; for DoRA with dropout the frozen product of the dropped
    rows, which the output loses.
    """
    again = _spread(job, _multiply_dropped(pairs, job))
    lifts = []
    for on_rows, lift in zip(job.pairs, again, strict=True):
        part = out[on_rows.start : on_rows.end]
        if lift is not None:
            part -= lift
        lifts.append(part if lift is None else lift)
    return lifts


def _multiply_dropped(pairs: Sequence[PairInputs], job: _Job) -> torch.Tensor | None:
    """Returns the frozen product of the rows that DoRA's dropouts leave; None if there are none."""
    dropped = _allocate(pairs[0].rows, job)
    if dropped is None:
        return None
    ends = list[int]()
    for pair, own in zip(pairs, _spread(job, dropped), strict=True):
        if own is not None and pair.draws is not None:
            drop_into(own, pair.rows, pair.draws)
            ends.append(len(own) + (ends[-1] if ends else 0))
    return job.frozen.multiply_parts(dropped, ends)


def _allocate(like: torch.Tensor, job: _Job) -> torch.Tensor | None:
    """Returns memory for what DoRA's dropped rows need again, as wide as ``like``."""
    rows = sum(on_rows.end - on_rows.start for on_rows in job.pairs if on_rows.drops_dora)
    return like.new_empty(rows, like.shape[1]) if rows else None


def _spread(job: _Job, dropped: torch.Tensor | None) -> list[torch.Tensor | None]:
    """Returns each pair's rows of what was computed for dropped rows; None for all others."""
    parts, done = list[torch.Tensor | None](), 0
    for on_rows in job.pairs:
        rows = on_rows.end - on_rows.start if on_rows.drops_dora else 0
        parts.append(dropped[done : done + rows] if dropped is not None and rows else None)
        done += rows
    return parts


def _scale(
    out: torch.Tensor, lifts: Sequence[torch.Tensor], job: _Job
) -> list[torch.Tensor | None]:
    """Scales what is lifted, in the output; returns it unscaled, None for all but DoRA's pairs."""
    lifted = list[torch.Tensor | None]()
    for on_rows, lift, scale in zip(job.pairs, lifts, job.scales, strict=True):
        if scale is None:
            lifted.append(None)
        elif on_rows.drops_dora:
            lifted.append(lift)
            add_scaled(out[on_rows.start : on_rows.end], lift, scale)
        else:
            lifted.append(scale_copied(lift, scale))
    return lifted


class _ScaledGradients(NamedTuple):
    """Gradients of what DoRA scales, of an output's.

    Attributes:
        frozen: Of the frozen product, (rows, out).
        to_lifted: Of what each pair lifts, (its rows, out).
        to_again: Of dropped rows' frozen product, (their rows, out); None if there are none.
        to_scales: Of each pair's scales, float32 (out,); None for all but DoRA's.
    """

    frozen: torch.Tensor
    to_lifted: list[torch.Tensor]
    to_again: torch.Tensor | None
    to_scales: list[torch.Tensor | None]


def _scale_gradients(
    grad: torch.Tensor, lifted: Sequence[torch.Tensor | None], job: _Job
) -> _ScaledGradients:
    scales_frozen = any(
        scale is not None and not on_rows.drops_dora
        for on_rows, scale in zip(job.pairs, job.scales, strict=True)
    )
    grad = grad.contiguous() if job.is_dora else grad
    found = _ScaledGradients(grad.clone() if scales_frozen else grad, [], _allocate(grad, job), [])
    both = _spread(job, _allocate(grad, job)), _spread(job, found.to_again)
    for on_rows, lift, scale, own, again in zip(job.pairs, lifted, job.scales, *both, strict=True):
        part = found.frozen[on_rows.start : on_rows.end]
        to_lifted = part if own is None else own
        known = None if lift is None or scale is None else (lift, scale)
        found.to_scales.append(known and scale_gradient(part, *known, to_lifted, again))
        found.to_lifted.append(to_lifted)
    return found


def _grad_of_magnitude(
    to_scale: torch.Tensor | None, norm: torch.Tensor | None
) -> torch.Tensor | None:
    """Returns it of the gradient of the magnitude over the norm."""
    return None if to_scale is None or norm is None else to_scale / norm
