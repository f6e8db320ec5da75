"""Losses of single tokens and their gradients against torch's own."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - as everywhere
from torch import nn

from phasewise.training.packed import token_losses
from phasewise.training.packed.token_losses import find_targets, measure_losses
from phasewise.training.products import OneDnnLinear


@pytest.mark.parametrize("layer", [nn.Linear, OneDnnLinear])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("most", [2**24, 90, 1])
def test_losses_and_gradients_are_those_of_whole_logits(
    layer: type[nn.Linear], bias: bool, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one piece, in pieces of two tokens and a rest, and a token at a time."""
    monkeypatch.setitem(token_losses._MOST_LOGITS, "cpu", most)
    torch.manual_seed(0)
    output = layer(8, 40, bias=bias).requires_grad_(False)
    weights, states = torch.rand(5), 20 * torch.randn(5, 8)
    tokens = F.linear(states, output.weight, output.bias).argmax(dim=1)
    tokens[2:] = torch.tensor([39, 3, 7])  # two of them are the most likely ones
    found, expected = states.clone().requires_grad_(), states.clone().requires_grad_()
    losses, hits = measure_losses(found, output, tokens)
    right = F.cross_entropy(
        F.linear(expected, output.weight, output.bias), tokens, reduction="none"
    )
    torch.testing.assert_close(losses, right)
    likely = F.linear(states, output.weight, output.bias).argmax(dim=1)
    assert hits.tolist() == (likely == tokens).tolist()
    (losses * weights).sum().backward()
    (right * weights).sum().backward()
    torch.testing.assert_close(found.grad, expected.grad)


def test_no_target_is_no_loss() -> None:
    states = torch.randn(0, 8, requires_grad=True)
    losses, _ = measure_losses(states, nn.Linear(8, 40), torch.zeros(0, dtype=torch.int64))
    assert losses.shape == (0,)
    losses.sum().backward()
    assert states.grad is not None


def test_targets_are_found_row_by_row() -> None:
    """A first token has nothing before it; a row may have no target."""
    labels = torch.tensor([[-100, 7, 8], [-100, -100, -100], [5, -100, 9]])
    targets = find_targets(labels)
    assert targets.places.tolist() == [0, 1, 7]
    assert targets.tokens.tolist() == [7, 8, 9]
    assert targets.counts == (2, 0, 1)
