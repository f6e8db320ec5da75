"""Compiled products with frozen weights that are ordered once for them (``products.h``)."""

import ctypes
from collections.abc import Callable
from functools import cache, partial
from time import perf_counter
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - as everywhere

from phasewise.training.kernels.library import Kernel, address_of, find_kernel
from phasewise.training.measured import decide_once

KERNELS = (
    Kernel(
        ("ordered_size", "order", "multiply_ordered"),
        "torch.nn.functional:linear",
        "kernels/test_products_kernel.py::test_products_of_many_sizes",
        "ordered products",
    ),
)

#: Rows and features of the products that decide which ones are used; the best of some rounds.
PROBE_ROWS, PROBE_SIZE = 256, 384
_PROBE_ROUNDS = 7
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


def ordered_size(right: torch.Tensor) -> int:
    """Returns the elements of a right factor, (k, n), once it is ordered."""
    return count("ordered_size", right, *map(ctypes.c_long, right.shape))


def order(right: torch.Tensor, to: torch.Tensor) -> None:
    """Copies a right factor as the kernels read it.

    Args:
        right: float32 or bfloat16 (k, n) of any strides; there are kernels for it.
        to: As many elements as ``ordered_size`` says, contiguous.
    """
    sizes = (ctypes.c_long(size) for size in (*right.stride(), *right.shape))
    find_kernel("order", right)(address_of(right), *sizes, address_of(to))


def make_ordered(right: torch.Tensor) -> torch.Tensor:
    """Returns a right factor, (k, n), in memory of its own as the kernels read it."""
    ordered = right.new_empty(ordered_size(right))
    order(right, ordered)
    return ordered


def multiply_ordered(
    rows: torch.Tensor, ordered: torch.Tensor, columns: int, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """Returns rows times a right factor, (..., columns), plus bias.

    Args:
        rows: (..., k).
        ordered: By ``order``, of (k, columns).
        columns: The right factor's.
        bias: (columns,).
    """
    rows, width = rows.contiguous(), rows.shape[-1]
    out = rows.new_empty(*rows.shape[:-1], columns)
    vector = None if bias is None else bias.detach().float()
    sizes = [ctypes.c_long(size) for size in (rows.numel() // width, width, columns)]
    find_kernel("multiply_ordered", rows)(
        *(address_of(rows), sizes[0], sizes[1], address_of(ordered), sizes[1], sizes[2]),
        *(address_of(vector), address_of(out), sizes[2], False),
    )
    return out


@cache
def are_products_fast(dtype: torch.dtype) -> bool:
    """Whether the kernels' products keep up with PyTorch's, by a measurement of some ms.

    On processors with units for whole matrices they do not.
    """
    return decide_once(f"kernels-are-fast-{dtype}", partial(_time_kernels, dtype))


def _time_kernels(dtype: torch.dtype) -> bool:
    rows, weight = (draw_probe(n).to(dtype) for n in (PROBE_ROWS, PROBE_SIZE))
    ordered = make_ordered(weight.t())
    theirs = time_product(lambda: F.linear(rows, weight))
    return time_product(lambda: multiply_ordered(rows, ordered, PROBE_SIZE)) <= _MOST * theirs


def draw_probe(rows: int) -> torch.Tensor:
    """Returns a factor to be measured with, (rows, PROBE_SIZE); no run's random stream moves on."""
    return torch.randn(rows, PROBE_SIZE, generator=torch.Generator())


def time_product(product: Callable[[], torch.Tensor]) -> float:
    """Returns the seconds of the fastest round."""
    rounds = []
    for _ in range(_PROBE_ROUNDS):
        clock = perf_counter()
        product()
        rounds.append(perf_counter() - clock)
    return min(rounds)
