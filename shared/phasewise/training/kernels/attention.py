"""Compiled attention of rows of tokens that lie one after another (``attention.cpp``)."""

import ctypes
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import torch

from phasewise.training.dropout import DropoutMask
from phasewise.training.kernels.library import Kernel, find_kernel

KERNELS = (
    Kernel(
        ("attend", "attend_backward"),
        "phasewise.training.packed.padded_attention:attend_padded",
        "kernels/test_attention_kernel.py::test_kernel_computes_what_pytorch_does",
        "attention kernels",
    ),
)


class _Heads(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("head_step", ctypes.c_int64),
        ("token_step", ctypes.c_int64),
    )


class _Attention(ctypes.Structure):
    _fields_ = (
        ("rows", ctypes.c_void_p),
        ("draws", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in ("count", "heads", "key_heads", "size")),
        *((name, ctypes.c_int64) for name in ("queries", "keys", "longest")),
        ("is_causal", ctypes.c_int32),
        ("limit", ctypes.c_int32),
        ("scale", ctypes.c_float),
        ("factor", ctypes.c_float),
    )


class Rows(NamedTuple):
    """Which queries see which keys.

    Attributes:
        table: int64 (rows, 4): first query, queries, first key, keys.
        longest: Keys of the longest row.
    """

    table: torch.Tensor
    longest: int


def build_rows(queries: Sequence[int], keys: Sequence[int]) -> Rows:
    """Returns rows that lie one after the other, from their numbers of queries and of keys."""
    starts = (accumulate(counts, initial=0) for counts in (queries, keys))
    first_queries, first_keys = starts
    table = list(zip(first_queries, queries, first_keys, keys, strict=False))
    return Rows(torch.tensor(table), max(keys))


class RowDraws(NamedTuple):
    """The dropout of the attention's weights.

    Attributes:
        members: What was drawn at a time: for some rows, each (heads, queries, keys), flattened.
        rows: int16 elements of each row, for each of the members.
    """

    members: list[DropoutMask]
    rows: list[list[int]]


def can_attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> bool:
    """Whether there is a kernel for tensors as ``attend_rows`` takes them."""
    same = query.dtype == key.dtype == value.dtype
    dense = all(tensor.stride(3) == 1 for tensor in (query, key, value))
    return same and dense and find_kernel("attend", query) is not None


def attend_rows(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    rows: Rows,
    *,
    scale: float,
    is_causal: bool,
    draws: RowDraws | None,
) -> torch.Tensor:
    """Returns (1, queries, heads, size); zeros for the queries after the rows' last one.

    Computed in float32, whatever the tensors' type.

    Args:
        query: (1, heads, queries, size), of any strides but the last one, which is 1.
        key: (1, heads, keys, size); of fewer heads than query, each of them serves several.
        value: As key.
        rows: On the CPU.
        scale: Of the scores.
        is_causal: Whether the n-th query of a row sees its first n keys only.
        draws: None: no dropout.
    """
    out: torch.Tensor = _Attend.apply(query, key, value, rows, scale, is_causal, draws)  # type: ignore[no-untyped-call]
    return out


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        rows: Rows,
        scale: float,
        is_causal: bool,
        draws: RowDraws | None,
    ) -> torch.Tensor:
        ctx.save_for_backward(query, key, value)
        ctx.call = _describe(query, key, rows, scale, is_causal, draws)
        ctx.held = rows, draws  # the call has their addresses
        out = _empty_like(query)
        _run("attend", ctx.call, query, key, value, out)
        return out.transpose(1, 2)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        own = ctx.saved_tensors
        grad = grads[0] if grads[0].stride(3) == 1 else grads[0].contiguous()
        found = [_empty_like(tensor) for tensor in own]
        _run("attend_backward", ctx.call, *own, grad.to(own[0].dtype).transpose(1, 2), *found)
        return *found, None, None, None, None


def _empty_like(heads: torch.Tensor) -> torch.Tensor:
    """Returns (1, heads, tokens, size) whose tokens lie as the layers around want them."""
    _, count, tokens, size = heads.shape
    return heads.new_empty(1, tokens, count, size).transpose(1, 2)


def _run(name: str, call: _Attention, *tensors: torch.Tensor) -> None:
    parts = [_Heads(t.data_ptr(), t.stride(1), t.stride(2)) for t in tensors]
    find_kernel(name, tensors[0])(ctypes.byref(call), *map(ctypes.byref, parts))


def _describe(
    query: torch.Tensor,
    key: torch.Tensor,
    rows: Rows,
    scale: float,
    is_causal: bool,
    draws: RowDraws | None,
) -> _Attention:
    sizes = (len(rows.table), query.shape[1], key.shape[1], query.shape[3])
    counts = (query.shape[2], key.shape[2], rows.longest)
    addresses = None if draws is None else _find_addresses(draws)
    first = None if draws is None else draws.members[0]
    limit, factor = (0, 1.0) if first is None else (first.limit, first.factor)
    call = _Attention(
        rows.table.data_ptr(), None, *sizes, *counts, int(is_causal), limit, scale, factor
    )
    if addresses is not None:
        call.draws = ctypes.addressof(addresses)
        call.held = addresses
    return call


def _find_addresses(draws: RowDraws) -> Any:
    found = list[int]()
    for own, sizes in zip(draws.members, draws.rows, strict=True):
        first, width = own.bits.data_ptr(), own.bits.element_size()
        found += (first + width * start for start in accumulate(sizes[:-1], initial=0))
    return (ctypes.c_int64 * len(found))(*found)
