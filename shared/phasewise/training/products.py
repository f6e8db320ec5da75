"""Matrix products in float32 on the CPU, by whichever library is faster on this processor.

PyTorch hands them to MKL, which runs at less than half speed on processors that are not Intel's;
oneDNN, which is part of PyTorch too, computes the same sums in the same precision at full speed.
"""

from functools import cache
from time import perf_counter
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - as everywhere
from torch import nn

#: Rows and features of the products that decide which library is used; the best of some rounds.
_PROBE_ROWS, _PROBE_SIZE, _PROBE_ROUNDS = 256, 384, 7
#: oneDNN must be this much faster: below, the longer way to it is not made up for.
_WORTH_IT = 1.15


class OneDnnLinear(nn.Linear):
    """A float32 linear layer on the CPU whose three products are oneDNN's."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Returns what ``nn.Linear`` does, (..., out)."""
        out: torch.Tensor = _Product.apply(input, self.weight, self.bias)  # type: ignore[no-untyped-call]
        return out


def use_fastest_products(model: nn.Module) -> None:
    """Makes the model's plain linear layers compute by the faster library; weights stay.

    Args:
        model: Only its float32 layers on the CPU change; they must not run under autocast.
    """
    if not is_onednn_faster(torch.get_num_threads()):
        return
    for module in model.modules():
        if type(module) is nn.Linear and _is_plain(module.weight):
            module.__class__ = OneDnnLinear


def _is_plain(weight: torch.Tensor) -> bool:
    return weight.dtype == torch.float32 and weight.device.type == "cpu"


def multiply(
    inputs: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """Returns ``F.linear(inputs, weight, bias)`` by oneDNN; no gradient passes through.

    Args:
        inputs: float32 (..., in), on the CPU.
        weight: float32 (out, in), in any order in memory.
        bias: (out,).
    """
    if not inputs.numel():
        return F.linear(inputs, weight, bias)
    out: torch.Tensor = torch.ops.mkldnn._linear_pointwise(inputs, weight, bias, "none", [], "")
    return out


@cache
def is_onednn_faster(threads: int) -> bool:
    """Whether oneDNN is there and worth it with so many threads, by a measurement of 10 ms."""
    if not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return False
    rows, weight = torch.randn(_PROBE_ROWS, _PROBE_SIZE), torch.randn(_PROBE_SIZE, _PROBE_SIZE)
    seconds = []
    for product in (F.linear, multiply):
        rounds = []
        for _ in range(_PROBE_ROUNDS):
            clock = perf_counter()
            product(rows, weight)
            rounds.append(perf_counter() - clock)
        seconds.append(min(rounds))
    return seconds[0] > _WORTH_IT * seconds[1]


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, inputs: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        # Only a weight's gradient needs the inputs; of frozen layers they need not outlive this.
        ctx.save_for_backward(inputs if ctx.needs_input_grad[1] else None, weight)
        ctx.shape = inputs.shape
        return multiply(inputs, weight, bias)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        inputs, weight = ctx.saved_tensors
        rows = grads[0].reshape(-1, grads[0].shape[-1])
        to_inputs = to_weight = to_bias = None
        if ctx.needs_input_grad[0]:
            to_inputs = multiply(rows, weight.t()).view(ctx.shape)
        if ctx.needs_input_grad[1]:
            to_weight = multiply(rows.t(), inputs.reshape(-1, inputs.shape[-1]).t())
        if ctx.needs_input_grad[2]:
            to_bias = rows.sum(0)
        return to_inputs, to_weight, to_bias
