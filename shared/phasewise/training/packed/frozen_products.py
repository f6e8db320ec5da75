"""A frozen layer's product of rows and its way back, outside of any graph."""

from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F  # noqa: N812 - as everywhere
from torch import nn

from phasewise.training.products import OneDnnLinear, multiply


class FrozenProduct(Protocol):
    """What a frozen layer computes.

    Attributes:
        layer: The layer; its weight gets no gradient.
    """

    layer: nn.Linear

    def forward(self, rows: torch.Tensor, *, with_bias: bool) -> torch.Tensor:
        """Returns the output, (rows, out), of the rows of all members, (rows, in)."""
        ...

    def multiply_parts(self, rows: torch.Tensor, ends: Sequence[int]) -> torch.Tensor:
        """Returns the output without bias, (rows, out), of rows whose members' parts end there."""
        ...

    def backward(self, grad: torch.Tensor) -> torch.Tensor:
        """Returns the rows' gradient, (rows, in), of the output's, (rows, out)."""
        ...


class LinearProduct:
    """A plain linear layer's; see ``FrozenProduct``.

    Args:
        layer: The layer.
        dtype: Of the product.
    """

    def __init__(self, layer: nn.Linear, dtype: torch.dtype) -> None:
        self.layer = layer
        self._weight = layer.weight.to(dtype)
        by_onednn = type(layer) is OneDnnLinear and dtype == layer.weight.dtype
        self._multiply = multiply if by_onednn else F.linear

    def forward(self, rows: torch.Tensor, *, with_bias: bool) -> torch.Tensor:
        """Returns the output, (rows, out), of the rows of all members, (rows, in)."""
        bias = self.layer.bias if with_bias else None
        return self._multiply(rows, self._weight, None if bias is None else bias.to(rows.dtype))

    def multiply_parts(self, rows: torch.Tensor, ends: Sequence[int]) -> torch.Tensor:
        """Returns the output without bias, (rows, out), of rows whose members' parts end there."""
        return self.forward(rows, with_bias=False)

    def backward(self, grad: torch.Tensor) -> torch.Tensor:
        """Returns the rows' gradient, (rows, in), of the output's, (rows, out)."""
        if self._multiply is multiply:
            return multiply(grad, self._weight, transposed=True)
        return F.linear(grad, self._weight.t())
