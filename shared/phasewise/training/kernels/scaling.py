"""What DoRA does with each column's scale, and its gradient: by a kernel, else by PyTorch.

Rows are (rows, out), float32 or bfloat16; scales are float32 (out,).
"""

import ctypes
from typing import Any

import torch

from phasewise.training.kernels.library import Kernel, address_of, find_kernel

KERNELS = (
    Kernel(
        ("add_scaled",),
        "phasewise.training.kernels.scaling:add_scaled",
        "kernels/test_scaling_kernels.py::test_what_is_added",
        "all kernels",
    ),
    Kernel(
        ("scale_copied",),
        "phasewise.training.kernels.scaling:scale_copied",
        "kernels/test_scaling_kernels.py::test_what_is_scaled_and_its_copy",
        "all kernels",
    ),
    Kernel(
        ("scale_gradient",),
        "phasewise.training.kernels.scaling:scale_gradient",
        "kernels/test_scaling_kernels.py::test_gradients",
        "all kernels",
    ),
)


def add_scaled(out: torch.Tensor, lifted: torch.Tensor, scale: torch.Tensor) -> None:
    """Adds ``lifted * scale`` to ``out``, of the same type."""
    if (kernel := _find("add_scaled", out, lifted, scale)) is None:
        out.addcmul_(lifted, scale)
    else:
        _run(kernel, (out, lifted, scale), out)


def scale_copied(rows: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Multiplies ``rows`` by ``scale``, in place; returns a copy of what they were."""
    if (kernel := _find("scale_copied", rows, scale)) is None:
        copied = rows.clone()
        rows *= scale
    else:
        copied = torch.empty_like(rows)
        _run(kernel, (rows, copied, scale), rows)
    return copied


def scale_gradient(
    grad: torch.Tensor,
    lifted: torch.Tensor,
    scale: torch.Tensor,
    to_lifted: torch.Tensor,
    to_again: torch.Tensor | None,
) -> torch.Tensor:
    """Returns the gradient of ``scale`` where ``lifted * scale`` was added, float32 (out,).

    Args:
        grad: Of the sum.
        lifted: As it was multiplied, of the gradient's type.
        scale: The factors.
        to_lifted: Written: ``grad * scale``; may be ``grad``.
        to_again: Written: ``grad * (scale - 1)``, if anybody needs it.
    """
    tensors = (grad, lifted, scale, to_lifted, to_again)
    if (kernel := _find("scale_gradient", *tensors)) is None:
        sums = (grad * lifted).sum(0, dtype=torch.float32)
        if to_again is not None:
            to_again.copy_(grad * (scale - 1))
        to_lifted.copy_(grad * scale)
    else:
        sums = torch.empty_like(scale)
        _run(kernel, (*tensors, sums), grad)
    return sums


def _find(name: str, rows: torch.Tensor, *others: torch.Tensor | None) -> Any:
    """Returns a kernel for these tensors; it takes contiguous ones."""
    given = [tensor for tensor in (rows, *others) if tensor is not None]
    return find_kernel(name, rows) if all(tensor.is_contiguous() for tensor in given) else None


def _run(kernel: Any, tensors: tuple[torch.Tensor | None, ...], rows: torch.Tensor) -> None:
    kernel(*map(address_of, tensors), *map(ctypes.c_long, rows.shape))
