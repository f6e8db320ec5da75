"""The compiled step of AdamW, over all tensors of a run in one call (``adamw.cpp``)."""

import ctypes
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import torch

from phasewise.training.kernels.library import Kernel, find_kernel

KERNELS = (
    Kernel(
        ("adamw",),
        "phasewise.training.packed.run_optimizer:RunOptimizer._step_by_pytorch",
        "packed/test_run_optimizer.py::test_clipped_and_unclipped_steps_are_those_of_pytorch",
        "AdamW kernel",
    ),
)

_WIDTH = 16  # floats of a vector


class _Group(ctypes.Structure):
    """A parameter group, as ``adamw.cpp`` has it."""

    _fields_ = tuple(
        (name, ctypes.c_double) for name in ("rate", "decay", "beta1", "beta2", "epsilon")
    )


class _Tensor(ctypes.Structure):
    """A tensor that trains, as ``adamw.cpp`` has it: where its moments lie."""

    _fields_ = (
        ("means", ctypes.c_void_p),
        ("squares", ctypes.c_void_p),
        ("size", ctypes.c_long),
        ("group", ctypes.c_long),
        ("steps", ctypes.c_long),
    )


class AdamMoments(NamedTuple):
    """What AdamW knows of a tensor: both of its size, float32."""

    steps: int
    means: torch.Tensor
    squares: torch.Tensor


class CompiledAdamW:
    """``torch.nn.utils.clip_grad_norm_`` and the step of a ``torch.optim.AdamW``, by a kernel.

    Args:
        kernel: ``adamw``.
        optimizer: AdamW without state; its groups' learning rates are read at every step.
        parameters: All of the optimizer's; they stay where they are.
        max_norm: L2 norm to which all gradients together are clipped.
    """

    def __init__(
        self,
        kernel: Any,
        optimizer: torch.optim.Optimizer,
        parameters: Sequence[torch.Tensor],
        max_norm: float,
    ) -> None:
        self._kernel, self._parameters = kernel, list(parameters)
        self._groups = optimizer.param_groups
        self._max_norm = ctypes.c_float(max_norm)
        described = [
            _Group(group["lr"], group["weight_decay"], *group["betas"], group["eps"])
            for group in self._groups
        ]
        self._described = (_Group * len(described))(*described)
        sizes = [-(-p.numel() // _WIDTH) * _WIDTH for p in self._parameters]
        starts = [0, *accumulate(sizes)]
        self._moments = torch.zeros(2, starts[-1])
        means, squares = (row.data_ptr() for row in self._moments)
        places = {id(p): i for i, group in enumerate(self._groups) for p in group["params"]}
        tensors = [
            _Tensor(means + 4 * start, squares + 4 * start, p.numel(), places[id(p)], 0)
            for p, start in zip(self._parameters, starts, strict=False)
        ]
        self._tensors = (_Tensor * len(tensors))(*tensors)
        self._addresses = ctypes.c_void_p * len(tensors)
        self._values = self._addresses(*[p.data_ptr() for p in self._parameters])

    def moments(self, index: int) -> AdamMoments:
        """Returns a tensor's moments, of its size; they change with each step."""
        described, size = self._tensors[index], self._parameters[index].shape
        start = (described.means - self._moments.data_ptr()) // self._moments.element_size()
        rows = (row[start : start + described.size].view(size) for row in self._moments)
        return AdamMoments(described.steps, *rows)

    def put_back(self, index: int, moments: AdamMoments) -> None:
        """Takes a tensor's moments, and of how many steps they are."""
        self._tensors[index].steps = moments.steps
        own = self.moments(index)
        own.means.copy_(moments.means)
        own.squares.copy_(moments.squares)

    def step(self, grads: Sequence[torch.Tensor | None]) -> None:
        """Makes a step; a tensor without a gradient stays as it is, with its moments.

        Args:
            grads: Of the parameters; they are left unclipped.
        """
        for described, group in zip(self._described, self._groups, strict=True):
            described.rate = group["lr"]
        given = [None if grad is None else grad.contiguous() for grad in grads]  # hold the copies
        self._kernel(
            self._tensors,
            self._values,
            self._addresses(*[None if grad is None else grad.data_ptr() for grad in given]),
            ctypes.c_long(len(given)),
            self._described,
            self._max_norm,
        )


def compile_adamw(
    optimizer: torch.optim.Optimizer, parameters: Sequence[torch.Tensor], max_norm: float
) -> CompiledAdamW | None:
    """Returns what makes an optimizer's steps; None where PyTorch must: see ``CompiledAdamW``."""
    groups = optimizer.param_groups
    is_plain = type(optimizer) is torch.optim.AdamW and not optimizer.state
    if not is_plain or any(group["amsgrad"] or group["maximize"] for group in groups):
        return None
    if not all(p.dtype == torch.float32 and p.is_contiguous() for p in parameters):
        return None
    if len({parameter.device for parameter in parameters}) != 1:
        return None
    kernel = find_kernel("adamw", parameters[0])
    return None if kernel is None else CompiledAdamW(kernel, optimizer, parameters, max_norm)
