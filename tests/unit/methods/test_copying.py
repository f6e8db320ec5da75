"""``copy_module`` against ``copy.deepcopy``, which it stands for."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from phasewise.methods.copying import PickledCopies, copy_module
from phasewise.methods.models import BaseModel, share_weights


class _Pair(nn.Module):
    """Holds one layer twice, a bound method, and lists of layers outside the registry."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(2, 2)
        self.again = self.first
        self.tied = nn.Linear(2, 2, bias=False)
        self.tied.weight = self.first.weight
        self.outside = [self.first]
        self.apply_first = self.use_first
        self.register_buffer("count", torch.zeros(1))
        self.seen: list[torch.Size] = []
        self.first.register_forward_hook(self.note)

    def note(self, module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
        self.seen.append(output.shape)

    def use_first(self, inputs: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(self.first(inputs))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.apply_first(inputs)


class _OwnCopy(nn.Linear):
    def __deepcopy__(self, memo: dict[int, Any]) -> nn.Linear:
        return nn.Linear(5, 5)


def test_ties_hooks_and_bound_methods_belong_to_the_copy() -> None:
    model = _Pair()
    copied = copy_module(model, {})
    assert copied.again is copied.first is not model.first
    assert copied.outside[0] is copied.first
    assert copied.tied.weight is copied.first.weight is not model.first.weight
    assert copied.apply_first.__self__ is copied
    with torch.no_grad():
        copied.first.weight.zero_()
        copied.first.bias.fill_(3.0)
    assert copied(torch.ones(1, 2)).tolist() == [[3.0, 3.0]]
    assert (copied.seen, model.seen) == ([torch.Size([1, 2])], [])
    assert model.first.weight.abs().sum() > 0
    copied.first.register_forward_pre_hook(lambda module, inputs: None)
    assert not model.first._forward_pre_hooks
    copied.count += 1
    assert model.count == 0


def test_unpickled_copies_share_what_they_are_told_to_and_hold_what_they_are_given() -> None:
    original = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2, bias=False))
    original[1].weight = original[0].weight
    bias, weight = original[0].bias, original[0].weight
    copies = PickledCopies((original, original[1]), {id(bias): bias}, {id(weight): "weight"})
    own = nn.Parameter(torch.ones(2, 2))
    del original[1]
    copied, last = copies.load({"weight": own})
    assert copied[1] is last is not original
    assert copied[0].bias is bias
    assert copied[0].weight is last.weight is own
    assert copies.load({"weight": own})[0][0] is not copied[0]


def test_a_class_that_copies_itself_does() -> None:
    copied = copy_module(nn.Sequential(_OwnCopy(2, 2), nn.Tanh()), {})
    assert type(copied[0]) is nn.Linear
    assert copied[0].in_features == 5


def test_a_model_is_copied_as_deepcopy_would(load_tiny: Callable[..., BaseModel]) -> None:
    for quantization in ("none", "nf4", "int8"):
        model = load_tiny(quantization=quantization).model
        found = copy_module(model, share_weights(model))
        expected = copy.deepcopy(model, share_weights(model))
        pairs = zip(found.named_modules(), expected.named_modules(), strict=True)
        for (name, ours), (other_name, theirs) in pairs:
            assert (name, type(ours)) == (other_name, type(theirs))
            assert list(vars(ours)) == list(vars(theirs))
            assert ours is not model.get_submodule(name)
        held = {id(weight) for weight in model.parameters()}
        assert {id(weight) for weight in found.parameters()} == held
        assert found.config is not model.config
