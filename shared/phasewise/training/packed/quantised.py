"""An adapted layer whose frozen weight bitsandbytes holds in 4 or 8 bits."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812 - as everywhere
from peft.utils.integrations import get_bnb_param_type
from torch import nn

from phasewise.training.packed.adapted_product import PairOnRows
from phasewise.training.packed.layers import find_pairs
from phasewise.training.packed.layout import current_layout
from phasewise.training.packed.low_rank import draw_keep


class QuantizedLinear(nn.Module):
    """A quantised layer's own product of all rows, and each member's pair on its own rows.

    The weight is dequantised once a pass, whoever shares it, and never held.

    Args:
        frozen: bitsandbytes' layer; no gradient of its weight is computed.
        name: The layer's name in the model.
    """

    def __init__(self, frozen: nn.Linear, name: str) -> None:
        super().__init__()
        self.frozen = frozen
        self.name = name
        self._is_int8 = is_quantized(frozen, "8bit")

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Returns the adapted output of inputs (..., in)."""
        rows = inputs.reshape(-1, inputs.shape[-1])
        out = self._multiply(inputs, rows)
        parts, done = [], 0
        for on_rows in find_pairs(self.name, inputs, self.training):
            own = slice(on_rows.start, on_rows.end)
            parts += [out[done : on_rows.start], self._adapt(out[own], rows[own], on_rows)]
            done = on_rows.end
        # Autograd forbids writing into views of what a Function of another's returned.
        return torch.cat([*parts, out[done:]]).view(*inputs.shape[:-1], -1)

    def _multiply(self, inputs: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Returns the frozen layer's output of all rows.

        LLM.int8() looks for outliers over all rows it is given (but trains on dequantised weights
        on a CPU), so a member's rows go there alone.
        """
        if not self._is_int8 or (self.training and rows.device.type == "cpu"):
            out: torch.Tensor = self.frozen(rows)
            return out
        spans = current_layout().spans(inputs)
        ends = [0, *(span.end for span in spans), len(rows)]  # filler may follow the last span
        return torch.cat(
            [self.frozen(rows[start:end]) for start, end in pairwise(ends) if start < end]
        )

    def _adapt(self, out: torch.Tensor, rows: torch.Tensor, on_rows: PairOnRows) -> torch.Tensor:
        """Returns a member's output, (rows, out), of the frozen layer's and its input's rows."""
        pair, generator = on_rows.pair, on_rows.generator
        if on_rows.drops_dora and generator is not None:
            return pair.drop_and_scale(out, rows, self.frozen, generator)
        inputs = rows.to(pair.down.dtype)
        if on_rows.drops and generator is not None:
            inputs = inputs * draw_keep(inputs.shape, pair.dropout, generator, inputs)
        added = F.linear(F.linear(inputs, pair.down), pair.up) * pair.scaling
        if pair.magnitude is None:
            return (out + added).to(out.dtype)
        bare = out if self.frozen.bias is None else out - self.frozen.bias
        scale = (pair.magnitude / pair.row_norms(self.frozen)).unsqueeze(0)
        return (out + (scale - 1) * bare + scale * added).to(out.dtype)


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
