"""The last block for one token per row only, where nothing behind it reads the others.

Classification reads the first token (BERT's CLS) or the last one (decoders). Of the last block only
keys and values are needed for all tokens: its own code runs up to the attention for these, then
again for the tokens that count.
"""

from collections.abc import Callable
from dataclasses import replace
from itertools import accumulate
from typing import Any, Literal

import torch
from torch import nn

from phasewise.training.packed.layout import (
    CachedKeyValues,
    Layout,
    Share,
    current_layout,
    use_layout,
)

#: Which token of each row.
Position = Literal["first", "last"]


class CapturedError(Exception):
    """Carries keys and values out of a block.

    Args:
        keys: (1, heads, tokens, size).
        values: The same.
    """

    def __init__(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        super().__init__()
        self.keys, self.values = keys, values


def narrow_block(block: nn.Module, position: Position, fill: float = 0.0) -> Callable[[], None]:
    """Makes a model's last block return (rows, longest, features) with one token of each row.

    Args:
        block: Called on flat tokens.
        position: Of the token.
        fill: Stands for all others.

    Returns:
        What undoes it.
    """
    whole = block.forward

    def forward(states: torch.Tensor, *args: Any, **keywords: Any) -> Any:
        layout = current_layout()
        keys, values = _capture(whole, layout, states, args, keywords)
        index = _find_tokens(layout, position)
        with use_layout(_narrow_layout(layout, CachedKeyValues(layout, keys, values))):
            own = {name: _narrow(value, layout, index) for name, value in keywords.items()}
            narrow = _narrow((states, *args), layout, index)
            output = whole(*narrow, **own)
        return _widen(output, layout, position, fill)

    block.forward = forward

    def undo() -> None:
        block.forward = whole

    return undo


def _capture(
    whole: Callable[..., Any],
    layout: Layout,
    states: torch.Tensor,
    args: tuple[Any, ...],
    keywords: dict[str, Any],
) -> tuple[torch.Tensor, torch.Tensor]:
    capturing = replace(layout, captures=True)
    try:
        with use_layout(capturing):
            whole(states, *args, **keywords)
    except CapturedError as captured:
        return captured.keys, captured.values
    raise AssertionError("a block without attention")


def _find_tokens(layout: Layout, position: Position) -> torch.Tensor:
    """Returns int64 (rows,), each row's token in the flat sequence; found once per batch."""
    known: torch.Tensor | None = layout.memo.get("last_block")
    if known is None:
        ends = list(accumulate(layout.lengths))
        places = [end - 1 for end in ends] if position == "last" else [0, *ends[:-1]]
        known = layout.memo["last_block"] = torch.tensor(places, device=layout.mask.device)
    return known


def _narrow(value: Any, layout: Layout, index: torch.Tensor) -> Any:
    """Returns an argument of the block for the tokens of ``index`` alone."""
    if isinstance(value, tuple):
        return tuple(_narrow(item, layout, index) for item in value)
    flat = isinstance(value, torch.Tensor) and value.ndim > 1 and value.shape[0] == 1
    return value.index_select(1, index) if flat and value.shape[1] == layout.total else value


def _narrow_layout(layout: Layout, cached: CachedKeyValues) -> Layout:
    shares = tuple(
        Share(s.member, s.first_row, s.rows, s.first_row, s.rows, 1) for s in layout.shares
    )
    return Layout(shares, (1,) * layout.rows, layout.mask[:, :1], cached=cached)


def _widen(output: Any, layout: Layout, position: Position, fill: float) -> Any:
    """Returns the block's output, (rows, longest, features) of (1, rows, features)."""
    states = output[0] if isinstance(output, tuple) else output
    wide = states.new_full((layout.rows, layout.longest, states.shape[-1]), fill)
    column = 0 if position == "first" else torch.tensor(layout.lengths, device=wide.device) - 1
    wide[torch.arange(layout.rows, device=wide.device), column] = states[0]
    return (wide, *output[1:]) if isinstance(output, tuple) else wide
