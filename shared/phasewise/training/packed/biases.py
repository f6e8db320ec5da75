"""Bias vectors of each member's own (BitFit, arXiv 2106.10199), on its own rows."""

from collections.abc import Iterable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle
from transformers.pytorch_utils import Conv1D

from phasewise.training.packed.layout import CannotPackError, current_layout

#: Modules whose output is something plus their bias.
_KNOWN = (nn.Linear, nn.LayerNorm, Conv1D)


class OwnBiases:
    """Corrects the outputs of modules whose bias members have replaced."""

    def __init__(self) -> None:
        self._hooks: dict[str, RemovableHandle] = {}

    def watch(self, model: nn.Module, names: Iterable[str]) -> None:
        """Corrects the outputs of some modules from now on.

        Args:
            model: The pack's.
            names: Of modules with a bias; those that are watched already stay so.

        Raises:
            CannotPackError: A module does something else with its bias than to add it.
        """
        for name in names:
            if name in self._hooks:
                continue
            module = model.get_submodule(name)
            frozen = getattr(module, "frozen", module)
            if not isinstance(frozen, _KNOWN):
                raise CannotPackError(f"{name} is a {type(frozen).__name__} with a bias of its own")
            hook = partial(_correct, name, frozen.bias)
            self._hooks[name] = module.register_forward_hook(hook)

    def forget(self, name: str) -> None:
        """Leaves a module's outputs as they are."""
        if name in self._hooks:
            self._hooks.pop(name).remove()


class _RowBias(NamedTuple):
    start: int
    end: int
    bias: torch.Tensor


def _correct(
    name: str, frozen: torch.Tensor, module: nn.Module, args: Any, output: torch.Tensor
) -> torch.Tensor:
    """Hook behind a module: replaces the bias that is in the output, (..., features)."""
    spans = current_layout().spans(output)
    own = [
        _RowBias(start, end, member.biases[name])
        for member, start, end in spans
        if name in member.biases
    ]
    if not own:
        return output
    rows = output.reshape(-1, output.shape[-1])
    biases = [bias for _, _, bias in own]
    corrected: torch.Tensor = _ReplaceBias.apply(rows, frozen, own, *biases)  # type: ignore[no-untyped-call]
    return corrected.view(output.shape)


class _ReplaceBias(torch.autograd.Function):
    """One copy for all members, where slices of autograd's would make one each."""

    @staticmethod
    def forward(
        ctx: Any,
        rows: torch.Tensor,
        frozen: torch.Tensor,
        own: list[_RowBias],
        *biases: torch.Tensor,
    ) -> torch.Tensor:
        ctx.own = own
        out = rows.clone()
        for start, end, bias in own:
            out[start:end] += (bias - frozen).to(out.dtype)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (grad,) = grads
        to_biases = [grad[start:end].sum(0, dtype=bias.dtype) for start, end, bias in ctx.own]
        return (grad, None, None, *to_biases)
