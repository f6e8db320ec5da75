"""What a rank saves of a run whose weights are divided (FSDP2): its own part, in its own files.

accelerate's ``save_fsdp_model`` and ``save_fsdp_optimizer`` are passed over: they write frozen
weights too, or ask the hub whether an adapter's vocabulary has grown; ranks wait for one another
between their writes, so that a full disk of one hangs the others; and what they write in the form
of torch.distributed.checkpoint has a pickle for its index.
"""

from pathlib import Path
from typing import Any

import torch
from torch import nn


class RankParts:
    """The files of one rank in a checkpoint.

    Args:
        folder: The checkpoint.
        rank: Whose.
    """

    def __init__(self, folder: Path, rank: int) -> None:
        self._weights = folder / f"weights_{rank}.pt"
        self._optimizer = folder / f"optimizer_{rank}.pt"

    def save_weights(self, model: nn.Module) -> None:
        """Writes this rank's part of the weights that train."""
        trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
        # state_dict() has divided weights, parameters() those that the last pass has gathered
        state = {name: part for name, part in model.state_dict().items() if name in trained}
        torch.save(state, self._weights)

    def load_weights(self, model: nn.Module) -> None:
        """Puts the weights back into a model that is divided likewise."""
        model.load_state_dict(torch.load(self._weights, weights_only=True), strict=False)

    def save_optimizer(self, optimizer: torch.optim.Optimizer, schedule: Any) -> None:
        """Writes this rank's part of the moments, and the schedule, which all have alike."""
        state = {"optimizer": optimizer.state_dict(), "schedule": schedule.state_dict()}
        torch.save(state, self._optimizer)

    def load_optimizer(self, optimizer: torch.optim.Optimizer, schedule: Any) -> None:
        """Takes up what ``save_optimizer`` has written."""
        state = torch.load(self._optimizer, weights_only=True)
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
