"""Padded rows and one sequence of tokens: there, back, and the gradients."""

import torch

from phasewise.training.packed.padding import build_padding_index, pad, unpad


def test_tokens_go_to_their_places_and_back() -> None:
    places = build_padding_index([2, 3, 1], torch.device("cpu"))
    tokens = torch.arange(1.0, 7).unsqueeze(1)
    padded = pad(tokens, places).view(3, 3)  # padding repeats a row's last token
    assert padded.tolist() == [
        [1, 2, 2],
        [3, 4, 5],
        [6, 6, 6],
    ]
    assert torch.equal(unpad(padded.view(9, 1), places), tokens)


def test_filler_follows_the_tokens_and_is_left_out_again() -> None:
    places = build_padding_index([2, 1], torch.device("cpu"), filler=3)
    padded = torch.tensor([[5.0], [6], [7], [0]], requires_grad=True)
    tokens = unpad(padded, places)
    assert tokens[:, 0].tolist() == [5, 6, 7, 5, 5, 5]
    assert pad(tokens, places)[:, 0].tolist() == [5, 6, 7, 7]
    tokens.backward(torch.arange(1.0, 7).unsqueeze(1))
    assert padded.grad is not None
    assert padded.grad[:, 0].tolist() == [1, 2, 3, 0]


def test_gradients_are_those_of_plain_indexing() -> None:
    places = build_padding_index([2, 4, 1, 4], torch.device("cpu"))
    tokens = torch.randn(11, 2, dtype=torch.float64, requires_grad=True)
    padded = torch.randn(16, 2, dtype=torch.float64, requires_grad=True)
    real = torch.ones(16, 1, dtype=torch.float64).index_fill_(0, places.padding, 0)
    assert torch.autograd.gradcheck(lambda t: pad(t, places) * real, tokens)
    assert torch.autograd.gradcheck(lambda p: unpad(p, places), padded)
