"""Makes of a copy of a base model what the runs of a pack can share."""

from typing import Any

from torch import nn

from phasewise.methods.copying import copy_module
from phasewise.methods.models import share_weights
from phasewise.training.kernels.elementwise import Gelu, is_exact_gelu
from phasewise.training.packed.layers import PackedDropout
from phasewise.training.packed.layout import CannotPackError
from phasewise.training.packed.token_losses import TargetStates


def share_copy(model: Any) -> Any:
    """Returns a copy of a model that shares its weights; none of them trains."""
    copied = copy_module(model, share_weights(model))
    # The weights are the base's own: members' tensors take part in the graph, these never do.
    if any(parameter.requires_grad for parameter in copied.parameters()):
        copied.requires_grad_(False)
    return copied


def find_blocks(model: nn.Module) -> list[nn.Module]:
    """Returns a model's blocks, in their order.

    Raises:
        CannotPackError: They are not to be told from other lists.
    """
    depth = int(getattr(model.config, "num_hidden_layers", 0))
    lists = [m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m) == depth]
    if len(lists) != 1:
        raise CannotPackError(f"{type(model).__name__} has no single list of {depth} blocks")
    return list(lists[0])


def take_output(model: Any) -> nn.Linear:
    """Returns a language model's output layer; the model's result is now what it would see.

    Raises:
        CannotPackError: It is no plain Linear, or there is none.
    """
    output: Any = model.get_output_embeddings()
    names = [name for name, module in model.named_modules() if module is output]
    if len(names) != 1 or not isinstance(output, nn.Linear):
        raise CannotPackError(f"{type(model).__name__} has no output layer that is a Linear")
    replace(model, names[0], TargetStates())
    return output


def replace(model: nn.Module, name: str, module: nn.Module) -> None:
    """Puts a module in another's place."""
    parent, _, own = name.rpartition(".")
    setattr(model.get_submodule(parent), own, module)


def replace_elementwise(model: nn.Module) -> None:
    """Puts in dropouts that draw from each member's stream, and the GELU that has a kernel."""
    for name, module in list(model.named_modules()):
        if type(module) is nn.Dropout:
            replace(model, name, PackedDropout(module.p))
        elif is_exact_gelu(module):
            replace(model, name, Gelu())
