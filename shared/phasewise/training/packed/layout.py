"""Who owns which rows and tokens of a pack's batch."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any, NamedTuple

import torch

from phasewise.training.dropout import Stream
from phasewise.training.packed.low_rank import LowRank

#: Least step between lengths of the flat sequence on a CPU.
_LEAST_STEP = 16


class CannotPackError(Exception):
    """A run, a method or a model computes in a way that this engine does not reproduce."""


class DirectGradients(NamedTuple):
    """Gradients that a pass's way back writes itself; autograd is only asked to go there.

    Attributes:
        anchor: A leaf without elements: to ask for its gradient has the others written.
        grads: A weight's id to its gradient, which the member's next pass overwrites.
    """

    anchor: torch.Tensor
    grads: dict[int, torch.Tensor]


@dataclass(eq=False)
class Member:
    """The weights and the random stream that one run brings into a pack.

    Attributes:
        layers: Name of an adapted layer to the run's low-rank pair.
        heads: Name of a fresh module to its weights by their names inside it.
        stream: Draws every dropout of this run and of no other.
        biases: Name of a module to the run's own bias vector in it.
        direct: Of the last pass that trained, if it had one.
    """

    layers: dict[str, LowRank]
    heads: dict[str, dict[str, torch.Tensor]]
    stream: Stream
    biases: dict[str, torch.Tensor] = field(default_factory=dict)
    direct: DirectGradients | None = None


class Share(NamedTuple):
    """A member's part of the batch; its rows and its tokens each lie together."""

    member: Member
    first_row: int
    rows: int
    first_token: int
    tokens: int
    longest: int


class Span(NamedTuple):
    """A member's part of a tensor whose leading dimensions are flattened."""

    member: Member
    start: int
    end: int


class CachedKeyValues(NamedTuple):
    """Keys and values of all tokens, (1, heads, tokens, size), for queries of one token per row."""

    layout: "Layout"
    keys: torch.Tensor
    values: torch.Tensor


@dataclass(frozen=True)
class Layout:
    """One batch of a pack.

    Attributes:
        shares: In the order of their rows.
        lengths: Tokens of each row.
        mask: int64 (rows, longest), as the collator makes it: ones, then zeros.
        memo: What layers computed of it, for the next one.
        captures: Whether attention is to hand out its keys and values instead.
        cached: Where the batch has one token per row: what they attend to.
        filler: Tokens at the end of the flat sequence that belong to nobody, so that its length is
            one of few; copies of the first token that nothing reads.
        wanted: int64 (targets,), a language model's places in the flattened padded batch that
            have a target.
    """

    shares: tuple[Share, ...]
    lengths: tuple[int, ...]
    mask: torch.Tensor
    memo: dict[object, Any] = field(default_factory=dict)
    captures: bool = False
    cached: CachedKeyValues | None = None
    filler: int = 0
    wanted: torch.Tensor | None = None

    @property
    def rows(self) -> int:
        """Rows of all members."""
        return len(self.lengths)

    @property
    def longest(self) -> int:
        """Tokens of the longest row: the width of the padded batch."""
        return int(self.mask.shape[1])

    @cached_property
    def total(self) -> int:
        """Length of the flat sequence: tokens of all members, without padding, and filler."""
        return sum(self.lengths) + self.filler

    def is_flat(self, tensor: torch.Tensor) -> bool:
        """Whether a tensor is (1, tokens, ...) rather than (rows, ...)."""
        return tensor.ndim > 2 and tensor.shape[0] == 1 and tensor.shape[1] == self.total

    def spans(self, tensor: torch.Tensor) -> list[Span]:
        """Returns each member's part of ``tensor.reshape(-1, features)``.

        Raises:
            CannotPackError: The tensor is neither (1, tokens, features) nor (rows, ..., features).
        """
        if self.is_flat(tensor):
            return [Span(s.member, s.first_token, s.first_token + s.tokens) for s in self.shares]
        if tensor.shape[0] != self.rows:
            raise CannotPackError(f"a layer got {tuple(tensor.shape)} for {self.rows} rows")
        each = prod(tensor.shape[1:-1])
        return [
            Span(s.member, s.first_row * each, (s.first_row + s.rows) * each) for s in self.shares
        ]

    def alone(self, share: Share) -> "Layout":
        """Returns the layout of one member's rows, still as wide as the whole batch."""
        rows = slice(share.first_row, share.first_row + share.rows)
        own = share._replace(first_row=0, first_token=0)
        return Layout((own,), self.lengths[rows], self.mask[rows])


def build_layout(members: Sequence[tuple[Member, int]], mask: torch.Tensor) -> Layout:
    """Returns the layout of a batch.

    Args:
        members: Each with its number of rows, in the order of the batch.
        mask: int64 (rows, longest), the batch's attention mask, padded on the right.
    """
    lengths = tuple(int(length) for length in mask.sum(1).tolist())
    shares, row, token = [], 0, 0
    for member, rows in members:
        own = lengths[row : row + rows]
        shares.append(Share(member, row, rows, token, sum(own), max(own)))
        row, token = row + rows, token + sum(own)
    filler = _round_up(token) - token if mask.device.type == "cpu" else 0
    return Layout(tuple(shares), lengths, mask, filler=filler)


def _round_up(tokens: int) -> int:
    """Returns the next of few lengths, at most a sixteenth longer, or 15 tokens.

    A CPU's products and activations are compiled for each new number of rows, which takes as long
    as some of them: with numbers that recur they are found again.
    """
    step: int = max(_LEAST_STEP, 2 ** tokens.bit_length() // 32)
    return -(-tokens // step) * step


_CURRENT: ContextVar[Layout] = ContextVar("phasewise_packed_layout")


def current_layout() -> Layout:
    """Returns the layout of the forward pass under way."""
    return _CURRENT.get()


@contextmanager
def use_layout(layout: Layout) -> Iterator[None]:
    """Makes ``layout`` the one that packed layers see."""
    token = _CURRENT.set(layout)
    try:
        yield
    finally:
        _CURRENT.reset(token)
