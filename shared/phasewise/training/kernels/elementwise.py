"""Dropout of given draws, and GELU: by a kernel, else by PyTorch."""

import ctypes
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - as everywhere
from torch import nn
from transformers.activations import GELUActivation

from phasewise.training.dropout import DropoutMask
from phasewise.training.kernels.library import Kernel, address_of, find_kernel

KERNELS = (
    Kernel(
        ("gelu", "gelu_backward"),
        "torch.nn.functional:gelu",
        "kernels/test_elementwise_kernels.py::test_gelu_and_its_gradient_are_pytorchs",
        "GELU and dropout kernels",
    ),
    Kernel(
        ("drop",),
        "phasewise.training.dropout:DropoutMask.factors",
        "kernels/test_elementwise_kernels.py::test_what_is_dropped_follows_from_the_draws",
        "GELU and dropout kernels",
    ),
    Kernel(
        ("draw",),
        "phasewise.training.dropout:_draw_words",
        "test_dropout.py::test_compiled_draws_are_numpys",
        "all kernels",
    ),
)

#: Modules that compute the exact GELU, by the error function (arXiv 1606.08415, section 2).
_EXACT = (GELUActivation, nn.GELU)


class Gelu(nn.Module):
    """The exact GELU."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Returns x times the share of a normal distribution below x, of each x."""
        if find_kernel("gelu", inputs) is None:
            return F.gelu(inputs)
        out: torch.Tensor = _Gelu.apply(inputs)  # type: ignore[no-untyped-call]
        return out


def is_exact_gelu(module: nn.Module) -> bool:
    """Whether ``Gelu`` computes the same as a module."""
    if type(module) not in _EXACT:
        return False
    if isinstance(module, nn.GELU):
        return module.approximate == "none"
    return getattr(module, "act", None) is F.gelu


def drop(inputs: torch.Tensor, draws: DropoutMask) -> torch.Tensor:
    """Returns what a dropout leaves of a tensor; its gradient loses the same parts.

    Args:
        inputs: Of any shape.
        draws: Of that shape.
    """
    out: torch.Tensor = _Drop.apply(inputs, draws)  # type: ignore[no-untyped-call]
    return out


def drop_into(out: torch.Tensor, inputs: torch.Tensor, draws: DropoutMask) -> None:
    """Writes what a dropout leaves of ``inputs``, without a gradient; both are contiguous."""
    if (kernel := find_kernel("drop", inputs)) is None:
        torch.mul(inputs, draws.factors(inputs.dtype), out=out)
        return
    kept = ctypes.c_int(draws.limit), ctypes.c_float(draws.factor)
    addresses = address_of(inputs), address_of(draws.bits)
    kernel(*addresses, *kept, address_of(out), ctypes.c_long(inputs.numel()))


class _Gelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: torch.Tensor) -> torch.Tensor:
        inputs = inputs.contiguous()
        ctx.save_for_backward(inputs)
        out = torch.empty_like(inputs)
        kernel, count = find_kernel("gelu", inputs), ctypes.c_long(inputs.numel())
        kernel(address_of(inputs), address_of(out), count)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> torch.Tensor:
        (inputs,), grad = ctx.saved_tensors, grads[0].contiguous()
        out = torch.empty_like(inputs)
        kernel, count = find_kernel("gelu_backward", inputs), ctypes.c_long(inputs.numel())
        kernel(address_of(grad), address_of(inputs), address_of(out), count)
        return out


class _Drop(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: torch.Tensor, draws: DropoutMask) -> torch.Tensor:
        ctx.draws = draws
        return _drop(inputs, draws)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None]:
        return _drop(grads[0], ctx.draws), None


def _drop(inputs: torch.Tensor, draws: DropoutMask) -> torch.Tensor:
    inputs = inputs.contiguous()
    out = torch.empty_like(inputs)
    drop_into(out, inputs, draws)
    return out
