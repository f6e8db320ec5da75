"""The compiled norms of DoRA's rows, of all members in one layer (``norms.cpp``)."""

import ctypes
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from phasewise.training.kernels.library import Kernel, address_of

KERNELS = (
    Kernel(
        ("row_norms",),
        "phasewise.training.packed.low_rank:_compute_by_pytorch",
        "packed/test_low_rank.py::test_norms_of_many_pairs_are_those_of_their_matrices",
        "all kernels",
    ),
)


class NormedPair(NamedTuple):
    """What the norms of a member are made of; its tensors are contiguous.

    Attributes:
        down: A, float32 (rank, in).
        up: B, float32 (out, rank).
        scaling: s.
    """

    down: torch.Tensor
    up: torch.Tensor
    scaling: float


class _Norms(ctypes.Structure):
    """As ``norms.cpp`` has it."""

    _fields_ = (
        ("down", ctypes.c_void_p),
        ("up", ctypes.c_void_p),
        ("norms", ctypes.c_void_p),
        ("rank", ctypes.c_long),
        ("scaling", ctypes.c_float),
    )


def find_norms(
    kernel: Any, pairs: Sequence[NormedPair], weight: torch.Tensor, squares: torch.Tensor
) -> list[torch.Tensor]:
    """Returns the norms of the rows of W + s B A of each pair, float32 (out,), above 0.

    Args:
        kernel: ``row_norms``, from ``find_kernel`` for the weight.
        pairs: Of one layer.
        weight: W, contiguous (out, in).
        squares: Its rows' squared norms, float32 (out,).
    """
    found = [torch.empty_like(squares) for _ in pairs]
    described = [
        _Norms(p.down.data_ptr(), p.up.data_ptr(), norms.data_ptr(), p.down.shape[0], p.scaling)
        for p, norms in zip(pairs, found, strict=True)
    ]
    array = (_Norms * len(described))(*described)
    addresses = map(address_of, (weight, squares))
    out_features, in_features = map(ctypes.c_long, weight.shape)
    kernel(ctypes.byref(array), ctypes.c_long(len(pairs)), *addresses, in_features, out_features)
    return found
