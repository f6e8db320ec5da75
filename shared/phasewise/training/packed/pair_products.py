"""The products of low-rank pairs with their members' rows: compiled, or PyTorch's."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from phasewise.training.dropout import DropoutMask
from phasewise.training.kernels.library import find_kernel
from phasewise.training.kernels.pairs import can_read, describe_pair, make_low, run_kernel


class PairInputs(NamedTuple):
    """A member's pair in one layer, with what it multiplies.

    Attributes:
        rows: x, (rows, in).
        down: A, (rank, in).
        up: B, (out, rank).
        scaling: s.
        draws: k, of the dropout on x; None without.
    """

    rows: torch.Tensor
    down: torch.Tensor
    up: torch.Tensor
    scaling: float
    draws: DropoutMask | None


class PairGradients(NamedTuple):
    """Where gradients of one member's pair come from and go.

    Attributes:
        low: Of ``add``.
        out: Of what ``add`` added to, (rows, out).
        passed: Of x, (rows, in), added to; None where nobody needs it.
        again: More that dropout is to take its parts from on the way to x, (rows, in).
    """

    low: torch.Tensor
    out: torch.Tensor
    passed: torch.Tensor | None
    again: torch.Tensor | None


class PlainProducts:
    """PyTorch's: the reference.

    Args:
        dtype: Of the products.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        self._dtype = dtype

    def add(self, pairs: Sequence[PairInputs], outs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Adds s (k x) A B to each member's rows of an output.

        Args:
            pairs: Of one layer.
            outs: (rows, out) each, written.

        Returns:
            What ``differentiate`` needs: s (k x) A of each.
        """
        lows = []
        for pair, out in zip(pairs, outs, strict=True):
            low = (self._inputs(pair) @ pair.down.to(self._dtype).T).mul_(pair.scaling)
            _add_product(out, low, pair.up.to(self._dtype).T)
            lows.append(low)
        return lows

    def differentiate(
        self, pairs: Sequence[PairInputs], gradients: Sequence[PairGradients]
    ) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Returns the gradients of each pair's A and B, and adds those of x.

        Args:
            pairs: As they were added.
            gradients: Of each.
        """
        return [self._differentiate(*both) for both in zip(pairs, gradients, strict=True)]

    def _differentiate(
        self, pair: PairInputs, given: PairGradients
    ) -> tuple[torch.Tensor, torch.Tensor]:
        down, up, out = (t.to(self._dtype) for t in (pair.down, pair.up, given.out))
        to_low = (out @ up).mul_(pair.scaling)
        to_down, to_up = to_low.T @ self._inputs(pair), out.T @ given.low
        if given.passed is not None and pair.draws is None:
            _add_product(given.passed, to_low, down)
        elif given.passed is not None and pair.draws is not None:
            to_rows = to_low @ down
            if given.again is not None:
                to_rows += given.again
            given.passed.add_(to_rows.mul_(pair.draws.factors(to_rows.dtype)))
        return to_down.to(pair.down.dtype), to_up.to(pair.up.dtype)

    def _inputs(self, pair: PairInputs) -> torch.Tensor:
        """Returns k x, (rows, in)."""
        rows, draws = pair.rows, pair.draws
        return (rows if draws is None else rows * draws.factors(rows.dtype)).to(self._dtype)


class CompiledProducts:
    """Those of a compiled kernel, for all members of a layer at once; see ``PlainProducts``.

    Args:
        add: The kernel ``add_pairs``.
        differentiate: The kernel ``differentiate_pairs``.
    """

    def __init__(self, add: Any, differentiate: Any) -> None:
        self._add, self._differentiate = add, differentiate

    def add(self, pairs: Sequence[PairInputs], outs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """As ``PlainProducts.add``; rows and outs are contiguous."""
        lows = [make_low(pair.rows.shape[0], pair.down.shape[0]) for pair in pairs]
        described = [
            describe_pair(p.rows, p.draws, p.down, p.up, p.scaling, low, out)
            for p, low, out in zip(pairs, lows, outs, strict=True)
        ]
        run_kernel(self._add, described, *_sizes(pairs))
        return lows

    def differentiate(
        self, pairs: Sequence[PairInputs], gradients: Sequence[PairGradients]
    ) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """As ``PlainProducts.differentiate``."""
        found = [(torch.empty_like(pair.down), torch.empty_like(pair.up)) for pair in pairs]
        kept = [given._replace(out=given.out.contiguous()) for given in gradients]
        described = [
            describe_pair(
                p.rows, p.draws, p.down, p.up, p.scaling, g.low, g.out, *to, g.passed, g.again
            )
            for p, g, to in zip(pairs, kept, found, strict=True)
        ]
        run_kernel(self._differentiate, described, *_sizes(pairs))
        return found


def choose_products(
    rows: torch.Tensor, weights: Sequence[torch.Tensor], dtype: torch.dtype
) -> PlainProducts | CompiledProducts:
    """Returns the compiled products where there are any for these tensors.

    Args:
        rows: The layer's input.
        weights: The pairs' A and B.
        dtype: Of PyTorch's products.
    """
    kernels = [find_kernel(name, rows) for name in ("add_pairs", "differentiate_pairs")]
    if None in kernels or not can_read(weights):
        return PlainProducts(dtype)
    return CompiledProducts(*kernels)


def _sizes(pairs: Sequence[PairInputs]) -> tuple[int, int]:
    return pairs[0].down.shape[1], pairs[0].up.shape[0]


def _add_product(rows: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> None:
    if rows.dtype == left.dtype:
        rows.addmm_(left, right)
    else:
        rows += left @ right
