"""The layers of a packed model that know whose rows they see."""

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - as everywhere
from torch import nn
from torch.func import functional_call
from transformers.pytorch_utils import Conv1D

from phasewise.training.dropout import DropoutMask
from phasewise.training.kernels.elementwise import drop
from phasewise.training.packed.adapted_product import PairOnRows, apply_pairs
from phasewise.training.packed.frozen_products import LinearProduct
from phasewise.training.packed.layout import CannotPackError, current_layout, use_layout
from phasewise.training.products import OneDnnLinear, products_dtype


class PackedLinear(nn.Module):
    """A frozen linear layer, applied once to all rows, and each member's pair on its own rows.

    Args:
        frozen: The layer; its weight is shared, and no gradient of it is computed.
        name: The layer's name in the model.
    """

    def __init__(self, frozen: nn.Linear, name: str) -> None:
        super().__init__()
        self.frozen = frozen
        self.name = name

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Returns the adapted output of inputs (..., in)."""
        rows = inputs.reshape(-1, inputs.shape[-1])
        pairs = find_pairs(self.name, inputs, self.training)
        if pairs:
            dtype = products_dtype(rows)
            out = apply_pairs(rows.to(dtype), LinearProduct(self.frozen, dtype), pairs)
        else:
            out = self.frozen(rows)
        return out.view(*inputs.shape[:-1], -1)


def read_linear(layer: Any, name: str) -> nn.Linear:
    """Returns a model's layer as a plain linear one; weights are shared.

    Args:
        layer: A linear layer, or GPT-2's, which holds its weight as (in, out).
        name: Its name in the model.

    Raises:
        CannotPackError: It is neither.
    """
    if type(layer) in (nn.Linear, OneDnnLinear):
        linear: nn.Linear = layer
    elif type(layer) is Conv1D:
        with torch.device("meta"):
            linear = nn.Linear(*layer.weight.shape)
        linear.weight = nn.Parameter(layer.weight.t(), requires_grad=False)
        linear.bias = layer.bias
    else:
        raise CannotPackError(f"layer {name} is a {type(layer).__name__}, not a Linear")
    return linear


def find_pairs(name: str, inputs: torch.Tensor, training: bool) -> list[PairOnRows]:
    """Returns the pairs that members have in a layer, with their rows of its flattened input.

    Args:
        name: The layer's name in the model.
        inputs: (..., in).
        training: Whether dropout is on.
    """
    pairs = []
    for span in current_layout().spans(inputs):
        pair = span.member.layers.get(name)
        if pair is not None:
            stream = span.member.stream if training else None
            pairs.append(PairOnRows(span.start, span.end, pair, stream))
    return pairs


class PackedHead(nn.Module):
    """A module that every member trains as its own: the head, sometimes a pooler.

    Args:
        template: The module; its weights are replaced by each member's.
        name: The module's name in the model.
    """

    def __init__(self, template: nn.Module, name: str) -> None:
        super().__init__()
        self.template = template
        self.name = name
        self._is_linear = type(template) in (nn.Linear, OneDnnLinear)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Returns the outputs for inputs (rows, ...), each member's by its own weights."""
        layout, parts = current_layout(), []
        for share in layout.shares:
            own = inputs[share.first_row : share.first_row + share.rows]
            weights = share.member.heads[self.name]
            if self._is_linear:  # a functional call costs more than the product
                parts.append(F.linear(own, weights["weight"], weights.get("bias")))
                continue
            with use_layout(layout.alone(share)):
                parts.append(functional_call(self.template, weights, (own,)))
        return torch.cat(parts)


class PackedDropout(nn.Module):
    """Dropout whose factors come from each member's own stream, whoever shares the pack.

    Args:
        p: Probability.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Returns (1, tokens, features) or (rows, ..., features) with parts set to zero."""
        if not self.training or self.p == 0:
            return inputs
        return drop(inputs, self._draw(inputs))

    def _draw(self, inputs: torch.Tensor) -> DropoutMask:
        """Returns what each member's stream drew for its rows; filler and padding get anything."""
        layout, draws = current_layout(), DropoutMask.make(inputs.shape, self.p, inputs.device)
        if inputs.ndim == 3 and not layout.is_flat(inputs):
            for share in layout.shares:  # what is drawn must not depend on the others' lengths
                shape = (share.rows, share.longest, inputs.shape[-1])
                own = draws.bits[share.first_row : share.first_row + share.rows, : share.longest]
                own.copy_(share.member.stream.draw(shape, self.p).bits)
            return draws
        flat = draws.bits.view(-1, inputs.shape[-1])
        for span in layout.spans(inputs):
            span.member.stream.fill(flat[span.start : span.end], self.p)
        return draws
