"""Attention in PyTorch alone: rows of similar length padded to the longest of them.

The reference for the compiled kernel, and what computes on a GPU.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import torch
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward

from phasewise.training.kernels.attention import RowDraws
from phasewise.training.packed.layout import Layout
from phasewise.training.packed.padding import PaddingIndex, build_padding_index, pad, unpad

#: Rows up to this much longer than the shortest share one padded product.
_STRETCH, _SLACK = 1.3, 4


class _Group(NamedTuple):
    """Rows of similar length, padded to the longest."""

    rows: list[int]
    lengths: list[int]
    places: PaddingIndex
    keys: torch.Tensor | None
    """bool (rows, 1, 1, width), False for padding; None without any."""


class _Grouping(NamedTuple):
    groups: list[_Group]
    sizes: list[int]
    """Tokens of each group."""
    order: PaddingIndex
    """Padded: tokens as the groups hold them, one after the other; tokens: as the batch does."""

    def split(self, tensor: torch.Tensor) -> list[torch.Tensor]:
        """Returns each group's (tokens, heads, size) of (1, heads, tokens, size)."""
        tokens = tensor[0].transpose(0, 1)
        if len(self.groups) == 1:
            return [tokens]
        return list(torch.split(pad(tokens, self.order), self.sizes))

    def join(self, parts: list[torch.Tensor]) -> torch.Tensor:
        """Returns all tokens in the batch's order of each group's."""
        return parts[0] if len(parts) == 1 else unpad(torch.cat(parts), self.order)


def attend_padded(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    layout: Layout,
    scale: float,
    causal: bool,
    draws: RowDraws | None,
) -> torch.Tensor:
    """Returns (1, tokens, heads, size).

    Args:
        module: The attention layer.
        query: (1, heads, tokens, size); key and value may have fewer heads.
        key: See query.
        value: See query.
        layout: Of the tokens.
        scale: Of the scores.
        causal: Whether a token sees those before it only.
        draws: Of dropout, if there is any.
    """
    grouping, dtype = _find_groups(layout, query.device), query.dtype
    if draws is not None:
        query, key, value = _in_product_dtype(query, key, value)
    noise = None if draws is None else _make_noise(draws, layout.lengths, layout, query)
    parts = []
    for group, *own in zip(grouping.groups, *map(grouping.split, (query, key, value)), strict=True):
        q, k, v = (_pad(tokens, group) for tokens in own)
        factors = None if noise is None else _place_noise(noise, group, q, k)
        out = _attend_group(module, q, k, v, group, scale, causal, factors)
        parts.append(unpad(out.reshape(-1, *out.shape[2:]), group.places))
    return grouping.join(parts).unsqueeze(0).to(dtype)


def _in_product_dtype(*tensors: torch.Tensor) -> list[torch.Tensor]:
    """Returns them as small products take them.

    On a CPU a product in bfloat16 is compiled for each new shape, which takes longer than itself.
    """
    return [tensor.float() if tensor.device.type == "cpu" else tensor for tensor in tensors]


def attend_last(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    layout: Layout,
    scale: float,
    draws: RowDraws | None,
) -> torch.Tensor:
    """Returns (1, rows, heads, size) for one query a row that sees its whole row.

    Args:
        module: See ``attend_padded``, as for all that follows.
        query: (1, heads, rows, size).
        key: (1, heads, tokens, size).
        value: As key.
        layout: Of the keys.
        scale: See there.
        draws: See there.
    """
    grouping = _find_groups(layout, query.device)
    noise = None if draws is None else _make_noise(draws, (1,) * layout.rows, layout, query)
    order = torch.tensor([row for group in grouping.groups for row in group.rows])
    order = order.to(query.device)
    queries = query[0].transpose(0, 1).index_select(0, order)  # (rows, heads, size)
    split = torch.split(queries, [len(group.rows) for group in grouping.groups])
    parts, shared = [], map(grouping.split, (key, value))
    for group, own, *both in zip(grouping.groups, split, *shared, strict=True):
        q, (k, v) = own.unsqueeze(2), (_pad(tokens, group) for tokens in both)
        factors = None if noise is None else _place_noise(noise, group, q, k)
        parts.append(_attend_group(module, q, k, v, group, scale, False, factors).squeeze(1))
    return torch.cat(parts).index_select(0, order.argsort()).unsqueeze(0)


def _find_groups(layout: Layout, device: torch.device) -> _Grouping:
    """Returns the groups of a layout, made once per batch."""
    known: _Grouping | None = layout.memo.get("attention")
    if known is None:
        known = layout.memo["attention"] = _make_groups(layout, device)
    return known


def _make_groups(layout: Layout, device: torch.device) -> _Grouping:
    lengths = layout.lengths
    starts = [0, *accumulate(lengths)]
    chosen: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lambda row: lengths[row]):
        if not chosen or lengths[row] > lengths[chosen[-1][0]] * _STRETCH + _SLACK:
            chosen.append([])
        chosen[-1].append(row)
    groups, held = [], list[int]()
    for rows in map(sorted, chosen):
        own = [lengths[row] for row in rows]
        alone = len(chosen) == 1
        places = build_padding_index(own, device, layout.filler if alone else 0)
        held += [starts[row] + token for row in rows for token in range(lengths[row])]
        keys = None
        if places.padding is not None:
            keys = torch.arange(max(own)) < torch.tensor(own).unsqueeze(1)
            keys = keys.view(len(rows), 1, 1, max(own)).to(device)
        groups.append(_Group(rows, own, places, keys))
    order = torch.tensor(held)
    of_token = torch.cat([order.argsort(), order.new_zeros(layout.filler)])
    sizes = [sum(group.lengths) for group in groups]
    return _Grouping(groups, sizes, PaddingIndex(of_token.to(device), order.to(device), None))


def _pad(tokens: torch.Tensor, group: _Group) -> torch.Tensor:
    """Returns (rows, heads, width, size) of a group's (tokens, heads, size)."""
    padded = pad(tokens, group.places)
    return padded.view(len(group.rows), -1, *tokens.shape[1:]).transpose(1, 2)


def _attend_group(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    group: _Group,
    scale: float,
    causal: bool,
    factors: torch.Tensor | None,
) -> torch.Tensor:
    """Returns (rows, queries, heads, size); a causal layer never looks at padding on the right.

    With dropout the plain steps, since SDPA draws its dropout from the one global stream.
    """
    if factors is None:
        mask = None if causal else group.keys
        out: torch.Tensor = sdpa_attention_forward(
            module, query, key, value, mask, scaling=scale, is_causal=causal
        )[0]
        return out
    repeats = query.shape[1] // key.shape[1]
    key, value = repeat_kv(key, repeats), repeat_kv(value, repeats)
    with torch.autocast(query.device.type, enabled=False):
        scores = (query * scale) @ key.transpose(2, 3)
        if causal:
            hidden = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
            scores.masked_fill_(hidden, float("-inf"))
        elif group.keys is not None:
            scores.masked_fill_(~group.keys, float("-inf"))
        weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(value.dtype) * factors
        return (weights @ value).transpose(1, 2)


def _make_noise(
    draws: RowDraws, queries: Sequence[int], layout: Layout, query: torch.Tensor
) -> list[torch.Tensor]:
    """Returns each row's factors, (heads, its queries, its length)."""
    flat = [
        own
        for drawn, sizes in zip(draws.members, draws.rows, strict=True)
        for own in torch.split(drawn.factors(query.dtype), sizes)
    ]
    shapes = zip(queries, layout.lengths, strict=True)
    return [own.view(query.shape[1], *shape) for own, shape in zip(flat, shapes, strict=True)]


def _place_noise(
    noise: list[torch.Tensor], group: _Group, query: torch.Tensor, key: torch.Tensor
) -> torch.Tensor:
    """Returns (rows, heads, queries, width); zeros in padding."""
    factors = query.new_zeros(*query.shape[:3], key.shape[2])
    for place, row in enumerate(group.rows):
        _, queries, length = noise[row].shape
        factors[place, :, :queries, :length] = noise[row]
    return factors
