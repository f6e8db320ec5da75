"""DoRA on rows of zeros, such as a vocabulary's padding in the output layer."""

from typing import Any

import torch
from peft.tuners.lora.dora import DoraLinearLayer
from torch import nn


class GuardedDora(DoraLinearLayer):  # type: ignore[misc]
    """PEFT's layer whose norms are above 0.

    PEFT 0.21 divides each row's magnitude by the norm of W + s B A (``peft/tuners/lora/dora.py``,
    ``DoraLinearLayer.forward``). Where a row of W is zero both are zero as long as B is, and
    0 / 0 makes the output, the loss and every gradient NaN. Guarded, the row keeps the scale 0
    and therefore, as no gradient reaches it, the output 0 that it has in the base model.
    """

    def get_weight_norm(self, *arguments: Any, **keywords: Any) -> torch.Tensor:
        """Returns the norms of the rows, (out,)."""
        return guard_norms(super().get_weight_norm(*arguments, **keywords))


def guard_norms(norms: torch.Tensor) -> torch.Tensor:
    """Returns norms of rows with the smallest normal number in the place of 0; NaN stays NaN."""
    return norms.clamp(min=torch.finfo(norms.dtype).tiny)


def guard_dora(model: nn.Module) -> None:
    """Guards the norms of all linear DoRA layers of a PEFT model; weights and draws stay."""
    for module in model.modules():
        if type(module) is DoraLinearLayer:
            module.__class__ = GuardedDora
