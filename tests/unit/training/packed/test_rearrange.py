"""Padded rows and one sequence of tokens: there, back, and the gradients."""

import torch

from phasewise.training.packed.rearrange import find_places, take_places, take_tokens


def test_tokens_go_to_their_places_and_back() -> None:
    places = find_places([2, 3, 1], torch.device("cpu"))
    tokens = torch.arange(1.0, 7).unsqueeze(1)
    padded = take_places(tokens, places).view(3, 3)
    assert padded.tolist() == [[1, 2, 0], [3, 4, 5], [6, 0, 0]]
    assert torch.equal(take_tokens(padded.view(9, 1), places), tokens)


def test_gradients_are_those_of_plain_indexing() -> None:
    places = find_places([2, 4, 1, 4], torch.device("cpu"))
    tokens = torch.randn(11, 2, dtype=torch.float64, requires_grad=True)
    padded = torch.randn(16, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda t: take_places(t, places), tokens)
    assert torch.autograd.gradcheck(lambda p: take_tokens(p, places), padded)
