"""An adapted layer whose frozen weight bitsandbytes holds in 4 or 8 bits."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Literal

import torch
from peft.utils.integrations import get_bnb_param_type
from torch import nn

from phasewise.training.packed.adapted_product import apply_pairs
from phasewise.training.packed.layers import find_pairs
from phasewise.training.packed.layout import current_layout
from phasewise.training.packed.low_rank import read_weight


class QuantizedLinear(nn.Module):
    """A quantized layer's own product of all rows, and each member's pair on its own rows.

    The weight is dequantized once per pass, whoever shares it, and never held.

    Args:
        frozen: bitsandbytes' layer; no gradient of its weight is computed.
        name: The layer's name in the model.
    """

    def __init__(self, frozen: nn.Linear, name: str) -> None:
        super().__init__()
        self.frozen = frozen
        self.name = name

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Returns the adapted output of inputs (..., in)."""
        rows = inputs.reshape(-1, inputs.shape[-1])
        spans = current_layout().spans(inputs)
        product = _QuantizedProduct(self.frozen, [span.end for span in spans])
        pairs = find_pairs(self.name, inputs, self.training)
        out = apply_pairs(rows, product, pairs) if pairs else product.forward(rows, with_bias=True)
        return out.view(*inputs.shape[:-1], -1)


class _QuantizedProduct:
    """A quantized layer's; see ``FrozenProduct``.

    LLM.int8() looks for outliers over all rows it is given (but trains on dequantized weights on a
    CPU), so a member's rows go there alone.

    Args:
        layer: bitsandbytes' layer.
        ends: Where each member's rows end.
    """

    def __init__(self, layer: nn.Linear, ends: Sequence[int]) -> None:
        self.layer = layer
        self._ends = ends

    def forward(self, rows: torch.Tensor, *, with_bias: bool) -> torch.Tensor:
        """Returns the output, (rows, out), of the rows of all members, (rows, in)."""
        if self._takes_all(rows):
            out: torch.Tensor = self.layer(rows)
        else:
            ends = [0, *self._ends, len(rows)]  # filler may follow the last member
            spans = [slice(start, end) for start, end in pairwise(ends) if start < end]
            out = torch.cat([self.layer(rows[span]) for span in spans])
        if not with_bias and self.layer.bias is not None:
            out = out - self.layer.bias.to(out.dtype)
        return out

    def multiply_parts(self, rows: torch.Tensor, ends: Sequence[int]) -> torch.Tensor:
        """Returns the output without bias, (rows, out), of rows whose members' parts end there."""
        return _QuantizedProduct(self.layer, ends).forward(rows, with_bias=False)

    def backward(self, grad: torch.Tensor) -> torch.Tensor:
        """Returns the rows' gradient, (rows, in), of the output's, (rows, out)."""
        return grad @ read_weight(self.layer).to(grad.dtype)

    def _takes_all(self, rows: torch.Tensor) -> bool:
        if not is_quantized(self.layer, "8bit"):
            return True
        return self.layer.training and rows.device.type == "cpu"


def is_quantized(layer: nn.Module, bits: Literal["4bit", "8bit"] | None = None) -> bool:
    """Whether bitsandbytes holds a layer's weight (in so many bits)."""
    if not isinstance(layer, nn.Linear):
        return False
    held = get_bnb_param_type(layer.weight)
    return bool(held) and bits in (None, held)


@contextmanager
def exact_products(*models: nn.Module) -> Iterator[None]:
    """Has 8-bit layers in evaluation mode multiply as in training, without rounding their input.

    On a CPU only. What LLM.int8() rounds hides by its noise (some per cent of the logits) whether
    two models compute the same.
    """
    layers = [layer for model in models for layer in model.modules() if is_quantized(layer, "8bit")]
    for layer in layers:
        layer.train()
    try:
        yield
    finally:
        for layer in layers:
            layer.eval()
