"""Lets a model's blocks see all tokens in one sequence, and what is around them padded rows."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from phasewise.training.packed.layout import CannotPackError, Layout, current_layout
from phasewise.training.packed.padding import PaddingIndex, build_padding_index, pad, unpad


def flatten_blocks(blocks: Sequence[nn.Module]) -> None:
    """Hooks a model's blocks.

    Args:
        blocks: In their order; the first is called with its states as an argument, not by name.
    """
    blocks[0].register_forward_pre_hook(_flatten_states)
    for block in blocks:
        block.register_forward_pre_hook(_flatten_keywords, with_kwargs=True)
    blocks[-1].register_forward_hook(_pad_states)


def _row_padding(layout: Layout) -> PaddingIndex:
    known: PaddingIndex | None = layout.memo.get("rows")
    if known is None:
        known = build_padding_index(layout.lengths, layout.mask.device, layout.filler)
        layout.memo["rows"] = known
    return known


def _flatten(tensor: torch.Tensor, layout: Layout) -> torch.Tensor:
    """Returns (1, tokens, ...) of (rows or 1, longest, ...)."""
    rows = tensor.expand(layout.rows, *tensor.shape[1:]).flatten(0, 1)
    return unpad(rows, _row_padding(layout)).unsqueeze(0)


def _flatten_states(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Hook before the first block."""
    if not args:
        raise CannotPackError("blocks are called with keywords only")
    return (_flatten(args[0], current_layout()), *args[1:])


def _flatten_keywords(
    module: nn.Module, args: tuple[Any, ...], keywords: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Hook before each block: positions, as angles or numbers, follow their tokens."""
    layout = current_layout()
    return args, {name: _follow(value, layout) for name, value in keywords.items()}


def _follow(value: Any, layout: Layout) -> Any:
    """Returns a keyword with its rows flat, if it has any.

    No function within the hook: one that calls itself is a cycle, and would hold its layout, and so
    the members' weights, until a collection.
    """
    if isinstance(value, tuple):
        return tuple(_follow(item, layout) for item in value)
    if not isinstance(value, torch.Tensor) or value.ndim < 2:
        return value
    if value.shape[0] not in (1, layout.rows) or value.shape[1] != layout.longest:
        return value
    key = ("keyword", id(value))
    if key not in layout.memo:
        layout.memo[key] = (_flatten(value, layout), value)  # held, so that ids stay unique
    return layout.memo[key][0]


def _pad_states(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
    """Hook after the last block."""
    layout = current_layout()
    states = output[0] if isinstance(output, tuple) else output
    if not layout.is_flat(states):
        return output  # the block gave one token per row, in its place
    padded = pad(states[0], _row_padding(layout))
    padded = padded.view(layout.rows, layout.longest, -1)
    return (padded, *output[1:]) if isinstance(output, tuple) else padded
