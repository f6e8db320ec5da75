"""Between padded rows and one sequence of tokens, at the cost of a copy each way."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class PaddingIndex:
    """Where the tokens of some rows stand in a padded batch of them.

    Attributes:
        of_token: int64 (tokens,), each token's place in the flattened padded batch; filler after
            the last token names the first place.
        of_place: int64 (rows * width,), each place's token; padding names a token of its own row.
        padding: int64, the places that are padding; None where no row is shorter than the others.
    """

    of_token: torch.Tensor
    of_place: torch.Tensor
    padding: torch.Tensor | None


def build_padding_index(
    lengths: Sequence[int], device: torch.device, filler: int = 0
) -> PaddingIndex:
    """Returns the places of rows in a batch as wide as the longest of them.

    Args:
        lengths: Tokens of each row; the rows follow each other in the sequence.
        device: Of the result.
        filler: Tokens after those of the rows that belong to none (see ``Layout.filler``).
    """
    width, length = max(lengths), torch.tensor(lengths).unsqueeze(1)
    column = torch.arange(width).unsqueeze(0)
    places = (length.cumsum(0) - length + torch.minimum(column, length - 1)).flatten()
    is_padding = (column >= length).flatten()
    of_token = torch.cat([(~is_padding).nonzero().flatten(), places.new_zeros(filler)])
    padding = is_padding.nonzero().flatten() if min(lengths) < width else None
    return PaddingIndex(
        of_token.to(device),
        places.to(device),
        None if padding is None else padding.to(device),
    )


def unpad(padded: torch.Tensor, places: PaddingIndex) -> torch.Tensor:
    """Returns (tokens, ...) of (rows * width, ...)."""
    taken: torch.Tensor = _Unpad.apply(padded, places)  # type: ignore[no-untyped-call]
    return taken


def pad(tokens: torch.Tensor, places: PaddingIndex) -> torch.Tensor:
    """Returns (rows * width, ...) of (tokens, ...); in the place of padding stands another token.

    What is computed of padding must not be read: attention masks it, heads look at one token. Its
    gradient is taken for zero.
    """
    taken: torch.Tensor = _Pad.apply(tokens, places)  # type: ignore[no-untyped-call]
    return taken


class _Unpad(torch.autograd.Function):
    """Each token stands in one place, so the gradient is a selection too, not a sum.

    Filler's gradient is dropped.
    """

    @staticmethod
    def forward(ctx: Any, padded: torch.Tensor, places: PaddingIndex) -> torch.Tensor:
        ctx.places = places
        return padded.index_select(0, places.of_token)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None]:
        places: PaddingIndex = ctx.places
        padded = grads[0].contiguous().index_select(0, places.of_place)
        if places.padding is not None:
            padded.index_fill_(0, places.padding, 0)
        return padded, None


class _Pad(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tokens: torch.Tensor, places: PaddingIndex) -> torch.Tensor:
        ctx.places = places
        return tokens.index_select(0, places.of_place)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None]:
        return grads[0].index_select(0, ctx.places.of_token), None
