"""The compiled attention against PyTorch's: values, gradients, what dropout draws."""

import shutil
from collections.abc import Sequence
from itertools import accumulate
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch

from phasewise.training.dropout import Stream
from phasewise.training.kernels.attention import can_attend
from phasewise.training.kernels.library import use_kernels
from phasewise.training.packed.attention import attend
from phasewise.training.packed.layout import (
    CachedKeyValues,
    Layout,
    Member,
    build_layout,
    use_layout,
)

pytestmark = [
    pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler"),
    pytest.mark.usefixtures("kernels"),
]


class Case(NamedTuple):
    lengths: Sequence[int]
    heads: int = 4
    key_heads: int = 4
    size: int = 32
    dropout: float = 0.0
    causal: bool = False
    held: bool = False
    dtype: torch.dtype = torch.float32


_MANY = [1, 2, 3, 5, 8, 15, 16, 17, 25, 31, 32, 33, 48, 64, 70]
_CASES = {
    "encoder": Case(_MANY),
    "encoder_with_dropout": Case(_MANY, dropout=0.1),
    "tiny_rows_with_dropout": Case([1, 2, 3], dropout=0.3, size=8),
    "decoder": Case(_MANY, causal=True),
    "decoder_with_dropout": Case(_MANY, causal=True, dropout=0.1, size=64),
    "shared_keys": Case([7, 40], key_heads=2, causal=True, dropout=0.1, size=8),
    "one_key_head": Case([7, 40], key_heads=1, size=20),
    "long": Case([400, 3], heads=2, key_heads=2, dropout=0.1),
    "long_decoder": Case([400, 3], heads=2, key_heads=1, causal=True),
    "last_token": Case(_MANY, held=True),
    "last_token_of_a_decoder": Case(_MANY, held=True, causal=True, key_heads=2, dropout=0.1),
    "bfloat16": Case(_MANY, dtype=torch.bfloat16, dropout=0.1),
    "bfloat16_decoder": Case([7, 40], dtype=torch.bfloat16, causal=True, size=8),
}


def _layout(case: Case) -> Layout:
    """Two members; filler brings the tokens to a length that recurs."""
    mask = (torch.arange(max(case.lengths)) < torch.tensor(case.lengths).unsqueeze(1)).long()
    members = [Member({}, {}, Stream(seed, torch.device("cpu"))) for seed in (3, 4)]
    return build_layout(list(zip(members, (1, len(case.lengths) - 1), strict=True)), mask)


def _tensors(case: Case, layout: Layout) -> list[torch.Tensor]:
    """Query, key, value and the gradient of the result; the heads of a token lie together."""
    torch.manual_seed(0)
    queries = layout.rows if case.held else layout.total
    sizes = [(queries, case.heads), *[(layout.total, case.key_heads)] * 2, (queries, case.heads)]
    made = [torch.randn(1, tokens, heads, case.size) for tokens, heads in sizes]
    if not case.held:
        made[3][:, sum(case.lengths) :] = 0  # nothing reads filler, so it has no gradient
    return [tensor.to(case.dtype).transpose(1, 2) for tensor in made]


def _compute(case: Case, *, compiled: bool) -> list[torch.Tensor]:
    """Returns the result and the gradients of query, key and value, without filler."""
    use_kernels(compiled)
    layout = _layout(case)
    *inputs, grad = _tensors(case, layout)
    assert can_attend(*inputs) == compiled
    for tensor in inputs:
        tensor.requires_grad_()
    module = SimpleNamespace(
        is_causal=case.causal, num_key_value_groups=case.heads // case.key_heads
    )
    current = layout
    if case.held:
        ones, held = (1,) * layout.rows, CachedKeyValues(layout, *inputs[1:])
        current = Layout(layout.shares, ones, layout.mask[:, :1], cached=held)
    with use_layout(current):
        out, _ = attend(module, *inputs, None, dropout=case.dropout)
    found = torch.autograd.grad(out, inputs, grad.transpose(1, 2))
    tokens = sum(case.lengths)  # what comes of filler is read by nobody
    return [out[:, :tokens], *(tensor[:, :, :tokens] for tensor in found)]


@pytest.mark.parametrize("name", _CASES)
def test_kernel_computes_what_pytorch_does(name: str) -> None:
    case = _CASES[name]
    expected = _compute(case, compiled=False)
    found = _compute(case, compiled=True)
    # bfloat16 has 8 bits; without dropout PyTorch's gradients pass through it in between
    bound = 2e-6 if case.dtype == torch.float32 else 1e-2
    for part, (own, wanted) in enumerate(zip(found, expected, strict=True)):
        assert own.dtype == wanted.dtype == case.dtype
        assert own.shape == wanted.shape
        error = (own - wanted).detach().float().norm()
        assert float(error) <= bound * float(wanted.detach().float().norm()), part


def test_every_row_is_a_softmax_of_its_own() -> None:
    """Against the definition, in double precision."""
    case = Case([3, 20, 1], causal=True)
    layout = _layout(case)
    query, key, value, _ = (tensor[0].double() for tensor in _tensors(case, layout))
    wanted = []
    for start, length in zip(accumulate(case.lengths, initial=0), case.lengths, strict=False):
        own = slice(start, start + length)
        scores = query[:, own] @ key[:, own].transpose(1, 2) / case.size**0.5
        hidden = torch.ones(length, length, dtype=torch.bool).triu(1)
        wanted.append(scores.masked_fill(hidden, float("-inf")).softmax(-1) @ value[:, own])
    found = _compute(case, compiled=True)[0][0].transpose(0, 1)
    torch.testing.assert_close(found.double(), torch.cat(wanted, dim=1), rtol=1e-5, atol=1e-6)


def test_numbers_of_one_row_stay_in_it() -> None:
    """A run that diverged must not reach its neighbors; filler and its gradient are zeros."""
    case = Case([5, 20, 9])
    layout = _layout(case)
    use_kernels(True)
    *inputs, grad = _tensors(case, layout)
    assert can_attend(*inputs)
    inputs[0].detach()[:, :, 6:8] = float("nan")
    for tensor in inputs:
        tensor.requires_grad_()
    module: Any = SimpleNamespace(is_causal=False)
    with use_layout(layout):
        out, _ = attend(module, *inputs, None)
    found = torch.autograd.grad(out, inputs, grad.transpose(1, 2))
    for tensor in (out.transpose(1, 2), *found):
        assert tensor.isfinite().all(dim=3).all(dim=1)[0, [*range(5), *range(25, 34)]].all()
        assert torch.equal(tensor[:, :, 34:], torch.zeros_like(tensor[:, :, 34:]))
    assert out[0, 6:8].isnan().all()
