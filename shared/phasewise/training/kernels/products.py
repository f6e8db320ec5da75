"""Compiled products with frozen weights that are ordered once for them (``products.h``)."""

import ctypes
from collections.abc import Callable
from functools import cache
from time import perf_counter
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - as everywhere

from phasewise.training.kernels.library import address_of, find_kernel

#: Rows and features of the products that decide whether ours are used; the best of some rounds.
_PROBE_ROWS, _PROBE_SIZE, _PROBE_ROUNDS = 256, 384, 7
#: Ours may take so many times as long: what a pass saves around them is worth more.
_MOST = 1.5


def count(name: str, tensor: torch.Tensor, *arguments: Any) -> int:
    """Returns what a kernel counts.

    Args:
        name: See ``find_kernel``.
        tensor: See ``find_kernel``.
        arguments: The kernel's.
    """
    kernel = find_kernel(name, tensor)
    kernel.restype = ctypes.c_long
    return int(kernel(*arguments))


def order(right: torch.Tensor) -> torch.Tensor:
    """Returns a right factor, (k, n) of any strides, as the kernels read it.

    Args:
        right: float32 or bfloat16; there are kernels for it.
    """
    sizes = [ctypes.c_long(size) for size in (*right.stride(), *right.shape)]
    ordered = torch.empty(count("ordered_size", right, *sizes[2:]), dtype=right.dtype)
    find_kernel("order", right)(address_of(right), *sizes, address_of(ordered))
    return ordered


def multiply_ordered(rows: torch.Tensor, ordered: torch.Tensor, columns: int) -> torch.Tensor:
    """Returns rows times a right factor, (count, columns).

    Args:
        rows: (count, k), contiguous.
        ordered: From ``order``, of (k, columns).
        columns: The right factor's.
    """
    out = rows.new_empty(len(rows), columns)
    sizes = (ctypes.c_long(size) for size in (*rows.shape, rows.shape[1]))
    find_kernel("multiply_ordered", rows)(
        *(address_of(rows), next(sizes), next(sizes), address_of(ordered), next(sizes)),
        *(ctypes.c_long(columns), None, address_of(out), ctypes.c_long(columns), False),
    )
    return out


@cache
def are_products_fast(dtype: torch.dtype) -> bool:
    """Whether the kernels' products keep up with PyTorch's, by a measurement of some ms.

    On processors with units for whole matrices they do not.
    """
    rows, weight = (torch.randn(n, _PROBE_SIZE).to(dtype) for n in (_PROBE_ROWS, _PROBE_SIZE))
    ordered = order(weight.t())
    theirs = _time(lambda: F.linear(rows, weight))
    return _time(lambda: multiply_ordered(rows, ordered, _PROBE_SIZE)) <= _MOST * theirs


def _time(product: Callable[[], torch.Tensor]) -> float:
    """Returns the seconds of the fastest round."""
    rounds = []
    for _ in range(_PROBE_ROUNDS):
        clock = perf_counter()
        product()
        rounds.append(perf_counter() - clock)
    return min(rounds)
