"""Draws weights that a checkpoint lacks: a head's, sometimes a pooler's."""

from typing import Any

import torch
from torch import nn


def initialize_fresh(model: Any, module: nn.Module) -> None:
    """Draws the weights of a module without pretrained ones, as the model's family does it.

    Args:
        model: The transformers model that it belongs to.
        module: Keeps its data type.
    """
    for tensor in module.parameters():
        # Else transformers would leave it as it is.
        tensor._is_hf_initialized = False  # type: ignore[attr-defined]
    with torch.no_grad():
        for part in module.modules():
            model._init_weights(part)
