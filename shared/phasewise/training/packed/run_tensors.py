"""The tensors of a packed run's checkpoint, in one safetensors file."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from phasewise.training.kernels.adamw import AdamMoments
from phasewise.training.packed.run_optimizer import OptimizerState

TENSORS_FILE = "run.safetensors"
_WEIGHT, _MEANS, _SQUARES, _GRAD = "weight.", "means.", "squares.", "grad."
_STEPS, _MADE, _STREAM = "adam_steps", "steps", "stream"


def write_tensors(
    folder: Path,
    weights: Mapping[str, torch.Tensor],
    optimizer: OptimizerState,
    stream: int | torch.Tensor,
) -> None:
    """Writes a run's tensors.

    Args:
        folder: Of the checkpoint.
        weights: Those that train, by name, in the optimizer's order.
        optimizer: Its state.
        stream: State of its dropouts' random numbers; a number is not written.
    """
    tensors = {
        _STEPS: torch.tensor([moments.steps for moments in optimizer.moments]),
        _MADE: torch.tensor(optimizer.steps),
    }
    for (name, weight), moments, grad in zip(
        weights.items(), optimizer.moments, optimizer.grads, strict=True
    ):
        parts = {_WEIGHT: weight, _MEANS: moments.means, _SQUARES: moments.squares, _GRAD: grad}
        for prefix, part in parts.items():
            if part is not None:
                tensors[prefix + name] = part.detach().contiguous()
    if isinstance(stream, torch.Tensor):
        tensors[_STREAM] = stream
    # Views of one memory are refused, and the moments are some.
    save_file({name: tensor.clone() for name, tensor in tensors.items()}, folder / TENSORS_FILE)


def read_tensors(
    folder: Path, weights: Mapping[str, torch.Tensor]
) -> tuple[OptimizerState, torch.Tensor | None]:
    """Copies a run's weights into its own; returns the optimizer's state and the random stream's.

    Args:
        folder: Of the checkpoint.
        weights: Those that train, by name, in the optimizer's order; they stay where they are.
    """
    device = str(next(iter(weights.values())).device)
    with safe_open(folder / TENSORS_FILE, "pt", device=device) as file, torch.no_grad():
        names = set(file.keys())
        made = file.get_tensor(_STEPS).tolist()
        moments, grads = [], []
        for (name, weight), steps in zip(weights.items(), made, strict=True):
            weight.copy_(file.get_tensor(_WEIGHT + name))
            pair = (file.get_tensor(prefix + name) for prefix in (_MEANS, _SQUARES))
            moments.append(AdamMoments(steps, *pair))
            grads.append(file.get_tensor(_GRAD + name) if _GRAD + name in names else None)
        stream = file.get_tensor(_STREAM).cpu() if _STREAM in names else None
        state = OptimizerState(int(file.get_tensor(_MADE)), moments, grads)
    return state, stream
