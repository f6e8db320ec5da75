"""Attention of a flat sequence of tokens, each sentence for itself, as transformers calls it."""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import AttentionInterface

from phasewise.training.kernels.attention import (
    RowDraws,
    Rows,
    attend_rows,
    build_rows,
    can_attend,
)
from phasewise.training.packed.last_block import CapturedError
from phasewise.training.packed.layout import CannotPackError, Layout, current_layout
from phasewise.training.packed.padded_attention import attend_last, attend_padded

#: The name under which transformers' models find it.
NAME = "phasewise_packed"


def attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **unused: Any,
) -> tuple[torch.Tensor, None]:
    """Returns (1, tokens, heads, size); see ``transformers.AttentionInterface``.

    Args:
        module: The attention layer.
        query: (1, heads, tokens, size); key and value may have fewer heads.
        key: See query.
        value: See query.
        attention_mask: Must be None: the layout says what belongs together.
        dropout: Of the attention's weights, drawn from each member's own stream.
        scaling: Of the scores; None: 1/sqrt(size).
        is_causal: None: as the layer says.

    Raises:
        CannotPackError: The model brings a mask, a bias or a window of its own.
    """
    layout = current_layout()
    _refuse_extras(attention_mask, unused, max(layout.lengths))
    causal = bool(getattr(module, "is_causal", False) if is_causal is None else is_causal)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if layout.captures:
        raise CapturedError(key, value)
    is_held, queries = layout.cached is not None, layout.lengths
    if layout.cached is not None:
        # One query a row. The last token of a causal layer sees its whole row, and so does each of
        # another layer.
        layout, key, value = layout.cached
        queries, causal = (1,) * layout.rows, False
    draws = _draw(layout, queries, dropout, query.shape[1]) if dropout > 0 else None
    if can_attend(query, key, value):
        rows = _find_rows(layout, queries, "held queries" if is_held else "queries")
        out = attend_rows(query, key, value, rows, scale=scale, is_causal=causal, draws=draws)
    elif is_held:
        out = attend_last(module, query, key, value, layout, scale, draws)
    else:
        out = attend_padded(module, query, key, value, layout, scale, causal, draws)
    return out, None


def _refuse_extras(mask: torch.Tensor | None, extras: dict[str, Any], longest: int) -> None:
    """Raises on what SDPA alone would not compute; a window hides nothing of shorter rows."""
    found = [n for n in ("softcap", "position_bias", "s_aux") if extras.get(n) is not None]
    window = extras.get("sliding_window")
    if window is not None and longest > window:
        found.append(f"a window of {window} tokens, for a row of {longest}")
    if mask is not None or found:
        raise CannotPackError(f"attention with {', '.join(found) or 'a mask of its own'}")


def _find_rows(layout: Layout, queries: Sequence[int], name: str) -> Rows:
    """Returns the rows of a layout as the kernel takes them, made once per batch."""
    known: Rows | None = layout.memo.get(name)
    if known is None:
        known = layout.memo[name] = build_rows(queries, layout.lengths)
    return known


def _draw(layout: Layout, queries: Sequence[int], dropout: float, heads: int) -> RowDraws:
    """Returns what each member's stream drew, (heads, its queries, its length) for each row."""
    found = RowDraws([], [])
    for share in layout.shares:
        part = slice(share.first_row, share.first_row + share.rows)
        own = zip(queries[part], layout.lengths[part], strict=True)
        found.rows.append([heads * count * length for count, length in own])
        found.members.append(share.member.stream.draw((sum(found.rows[-1]),), dropout))
    return found


AttentionInterface.register(NAME, attend)
