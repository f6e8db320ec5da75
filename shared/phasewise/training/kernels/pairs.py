"""The compiled products of all members' low-rank pairs in one layer (``pairs.cpp``)."""

import ctypes
from collections.abc import Sequence
from typing import Any

import torch

from phasewise.training.dropout import DropoutMask
from phasewise.training.kernels.library import Kernel

KERNELS = (
    Kernel(
        ("add_pairs", "differentiate_pairs"),
        "phasewise.training.packed.pair_products:PlainProducts",
        "packed/test_pair_products.py::test_kernels_compute_what_pytorch_does",
        "low-rank kernels",
    ),
)

_WIDTH = 16  # floats of a vector


class Pair(ctypes.Structure):
    """One member's pair, as ``pairs.cpp`` has it; it holds addresses, not the tensors."""

    _fields_ = (
        ("inputs", ctypes.c_void_p),
        ("draws", ctypes.c_void_p),
        ("down", ctypes.c_void_p),
        ("up", ctypes.c_void_p),
        ("low", ctypes.c_void_p),
        ("out", ctypes.c_void_p),
        ("to_down", ctypes.c_void_p),
        ("to_up", ctypes.c_void_p),
        ("passed", ctypes.c_void_p),
        ("again", ctypes.c_void_p),
        ("rows", ctypes.c_long),
        ("rank", ctypes.c_long),
        ("limit", ctypes.c_int),
        ("factor", ctypes.c_float),
        ("scaling", ctypes.c_float),
    )


def describe_pair(
    inputs: torch.Tensor,
    draws: DropoutMask | None,
    down: torch.Tensor,
    up: torch.Tensor,
    scaling: float,
    low: torch.Tensor,
    out: torch.Tensor,
    to_down: torch.Tensor | None = None,
    to_up: torch.Tensor | None = None,
    passed: torch.Tensor | None = None,
    again: torch.Tensor | None = None,
) -> Pair:
    """Returns a pair for ``run_kernel``; every tensor is contiguous and outlives it.

    Args:
        inputs: (rows, in), float32 or bfloat16, as are out, passed and again.
        draws: Of the dropout on them, if there is one.
        down: A, float32 (rank, in).
        up: B, float32 (out, rank).
        scaling: s.
        low: See ``make_low``; written by add_pairs, read by differentiate_pairs.
        out: (rows, out), to which the product is added; its gradient for differentiate_pairs.
        to_down: A's gradient, written.
        to_up: B's gradient, written.
        passed: (rows, in), to which the inputs' gradient is added, unless nobody needs it.
        again: (rows, in), added to that gradient before dropout takes its parts.
    """
    kept = () if draws is None else (draws.limit, draws.factor)
    limit, factor = kept or (0, 1.0)
    tensors = (inputs, draws and draws.bits, down, up, low, out, to_down, to_up, passed, again)
    addresses = [None if tensor is None else tensor.data_ptr() for tensor in tensors]
    return Pair(*addresses, inputs.shape[0], down.shape[0], limit, factor, scaling)


def can_read(weights: Sequence[torch.Tensor]) -> bool:
    """Whether these weights of pairs are as the kernels take them: float32, contiguous."""
    return all(w.dtype == torch.float32 and w.is_contiguous() for w in weights)


def make_low(rows: int, rank: int) -> torch.Tensor:
    """Returns memory for the inputs' products with A, float32 (rows, rank in whole vectors)."""
    return torch.empty(rows, -(-rank // _WIDTH) * _WIDTH)


def run_kernel(kernel: Any, pairs: Sequence[Pair], in_features: int, out_features: int) -> None:
    """Has ``add_pairs`` or ``differentiate_pairs``, from ``find_kernel``, do all pairs of a layer.

    Raises:
        ctypes.ArgumentError: A size is no integer.
    """
    array = (Pair * len(pairs))(*pairs)
    sizes = (len(pairs), in_features, out_features)
    kernel(ctypes.byref(array), *map(ctypes.c_long, sizes))
