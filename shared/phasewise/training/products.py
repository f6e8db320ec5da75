"""Matrix products on the CPU, by whichever library is faster on this processor.

PyTorch hands those in float32 to MKL, which runs at less than half speed on processors that are not
Intel's; oneDNN, which is part of PyTorch too, computes the same sums in the same precision at full
speed. It computes those in bfloat16 anyway, but is given frozen weights here in the order in memory
that it wants. A compiled kernel takes over products with frozen weights where it is as fast: with
few rows it takes half the time.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - as everywhere
from torch import nn

from phasewise.training.kernels.library import find_kernel
from phasewise.training.kernels.products import (
    PROBE_ROWS,
    PROBE_SIZE,
    are_products_fast,
    draw_probe,
    make_ordered,
    multiply_ordered,
    time_product,
)
from phasewise.training.measured import decide_once

#: oneDNN must be this much faster: below, the longer way to it is not made up for.
_WORTH_IT = 1.15
#: Weights of a larger model are not held in oneDNN's order too, twice (for both directions).
_MOST_REORDERED_BYTES = 128e6
#: Attributes of a weight: whether it may be held so, and where it is.
_REORDERS, _REORDERED = "_phasewise_reorders", "_phasewise_reordered"


class OneDnnLinear(nn.Linear):
    """A linear layer on the CPU whose three products are oneDNN's."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Returns what ``nn.Linear`` does, (..., out)."""
        dtype = products_dtype(input)
        if dtype != self.weight.dtype:  # autocast would cast the weight in each pass
            return super().forward(input)
        bias = None if self.bias is None else self.bias.to(dtype)
        out: torch.Tensor = _Product.apply(input.to(dtype), self.weight, bias)  # type: ignore[no-untyped-call]
        return out


def products_dtype(rows: torch.Tensor) -> torch.dtype:
    """Returns in which type products of these rows are computed: autocast's, or their own."""
    device = rows.device.type
    if not torch.is_autocast_enabled(device):
        return rows.dtype
    dtype: torch.dtype = torch.get_autocast_dtype(device)
    return dtype


def use_fastest_products(model: nn.Module) -> None:
    """Makes the model's plain linear layers compute by the faster library; weights stay.

    Args:
        model: Its products are in the type of its weights; only layers on the CPU change.
    """
    layers = [m for m in model.modules() if type(m) is nn.Linear and m.weight.device.type == "cpu"]
    reorders = sum(layer.weight.nbytes for layer in layers) <= _MOST_REORDERED_BYTES
    for layer in layers:
        if _is_worth_it(layer.weight, reorders):
            layer.__class__ = OneDnnLinear
            layer.weight.__dict__[_REORDERS] = reorders


def _is_worth_it(weight: torch.Tensor, reorders: bool) -> bool:
    if weight.dtype == torch.float32:
        return is_onednn_faster(torch.get_num_threads())
    return weight.dtype == torch.bfloat16 and reorders and reorders_bfloat16()


def multiply(
    inputs: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    *,
    transposed: bool = False,
) -> torch.Tensor:
    """Returns ``F.linear(inputs, weight, bias)`` by oneDNN or a kernel; no gradient passes through.

    Args:
        inputs: float32 or bfloat16 (..., in), on the CPU.
        weight: Of that type, (out, in), in any order in memory.
        bias: (out,).
        transposed: Whether the product is with ``weight.t()`` instead.
    """
    if not inputs.numel():
        return F.linear(inputs, weight.t() if transposed else weight, bias)
    holds = not weight.requires_grad and weight.__dict__.get(_REORDERS, False)
    if holds and find_kernel("multiply_ordered", inputs) and are_products_fast(inputs.dtype):
        ordered = _hold(weight, transposed, _order)
        return multiply_ordered(inputs, ordered, weight.shape[transposed], bias)
    right = weight.t() if transposed else weight
    if holds:
        right = _hold(weight, transposed, _reorder)
    out: torch.Tensor = torch.ops.mkldnn._linear_pointwise(inputs, right, bias, "none", [], "")
    return out


def _hold(
    weight: torch.Tensor, transposed: bool, make: Callable[[torch.Tensor], torch.Tensor]
) -> torch.Tensor:
    """Returns a frozen weight in another order in memory, made once: it would be every time."""
    known: dict[Any, tuple[Any, torch.Tensor]] = weight.__dict__.setdefault(_REORDERED, {})
    origin, key = (weight.data_ptr(), weight._version), (transposed, make)
    if key not in known or known[key][0] != origin:
        known[key] = (origin, make((weight.t() if transposed else weight).detach()))
    return known[key][1]


def _order(weight: torch.Tensor) -> torch.Tensor:
    """Returns a weight, (out, in), as the kernel wants it in memory."""
    return make_ordered(weight.t())


def _reorder(weight: torch.Tensor) -> torch.Tensor:
    """Returns a weight, (out, in), as oneDNN wants it in memory."""
    made: torch.Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), PROBE_ROWS)
    return made


def _has_onednn() -> bool:
    return hasattr(torch.ops.mkldnn, "_linear_pointwise")


def reorders_bfloat16() -> bool:
    """Whether this processor can hold weights in bfloat16 in oneDNN's order; AVX2 alone cannot."""
    return _has_onednn() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


@cache
def is_onednn_faster(threads: int) -> bool:
    """Whether oneDNN is there and worth it with so many threads, by a measurement of 10 ms."""
    return _has_onednn() and decide_once(f"onednn-is-faster-{threads}", _time_onednn)


def _time_onednn() -> bool:
    rows, weight = draw_probe(PROBE_ROWS), draw_probe(PROBE_SIZE)
    plain = time_product(lambda: F.linear(rows, weight))
    return plain > _WORTH_IT * time_product(lambda: multiply(rows, weight))


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
            to_inputs = multiply(rows, weight, transposed=True).view(ctx.shape)
        if ctx.needs_input_grad[1]:
            to_weight = multiply(rows.t(), inputs.reshape(-1, inputs.shape[-1]).t())
        if ctx.needs_input_grad[2]:
            to_bias = rows.sum(0)
        return to_inputs, to_weight, to_bias
