"""The compiled products of pairs against PyTorch's."""

import itertools
import shutil

import pytest
import torch

from phasewise.training.dropout import Stream
from phasewise.training.packed.pair_products import (
    CompiledProducts,
    PairGradients,
    PairInputs,
    PlainProducts,
    choose_products,
)

pytestmark = pytest.mark.skipif(
    not any(map(shutil.which, ("g++", "c++", "clang++"))), reason="no C++ compiler"
)
#: Some in several blocks, some ragged, one without rows.
_ROWS, _RANKS = (1, 5, 70, 129, 16, 0, 3), (1, 4, 20, 64, 8, 5, 2)


def _pairs(in_size: int, out_size: int, dropout: float, dtype: torch.dtype) -> list[PairInputs]:
    stream, pairs = Stream(1, torch.device("cpu")), []
    for rows, rank in zip(_ROWS, _RANKS, strict=True):
        # A third of the members has no dropout.
        drops = dropout and len(pairs) % 3 != 2
        pairs.append(
            PairInputs(
                rows=torch.randn(rows, in_size).to(dtype),
                down=torch.randn(rank, in_size),
                up=torch.randn(out_size, rank),
                scaling=1.5,
                draws=stream.draw((rows, in_size), dropout) if drops else None,
            )
        )
    return pairs


def _compute(
    products: PlainProducts | CompiledProducts, pairs: list[PairInputs], *, passes: bool
) -> dict[str, list[torch.Tensor]]:
    generator = torch.Generator().manual_seed(2)

    def random(rows: int, columns: int) -> torch.Tensor:
        return torch.randn(rows, columns, generator=generator).to(pairs[0].rows.dtype)

    sizes = [(len(pair.rows), len(pair.up), pair.rows.shape[1]) for pair in pairs]
    outs = [random(rows, out) for rows, out, _ in sizes]
    lows = products.add(pairs, outs)
    # What reaches a pair from above need not lie row after row.
    grads = [random(out, rows).t() for rows, out, _ in sizes]
    passed = [random(rows, inner) if passes else None for rows, _, inner in sizes]
    again = [None if p.draws is None else random(len(p.rows), p.rows.shape[1]) for p in pairs]
    gradients = itertools.starmap(PairGradients, zip(lows, grads, passed, again, strict=True))
    found = products.differentiate(pairs, list(gradients))
    return {
        "outputs": outs,
        "gradients": [gradient for both in found for gradient in both],
        "inputs": [tensor for tensor in passed if tensor is not None],
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("sizes", [(48, 32), (37, 21), (8, 100)])
@pytest.mark.parametrize("dropout", [0.0, 0.5])  # whose factor bfloat16 holds exactly
@pytest.mark.usefixtures("kernels")
def test_kernels_compute_what_pytorch_does(
    sizes: tuple[int, int], dropout: float, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    pairs = _pairs(*sizes, dropout, dtype)
    compiled = choose_products(pairs[0].rows, [p.up for p in pairs], torch.float32)
    assert isinstance(compiled, CompiledProducts)
    error = 1e-5 if dtype == torch.float32 else 4e-3  # sums are float32 in both
    for passes in (True, False):
        found = _compute(compiled, pairs, passes=passes)
        expected = _compute(PlainProducts(torch.float32), pairs, passes=passes)
        for name, tensors in expected.items():
            for one, other in zip(found[name], tensors, strict=True):
                assert one.dtype == other.dtype
                assert (one - other).float().norm() <= error * other.float().norm(), name


@pytest.mark.usefixtures("kernels")
def test_weights_of_another_type_are_left_to_pytorch() -> None:
    rows, weight = torch.randn(2, 4), torch.randn(3, 4)
    assert isinstance(choose_products(rows, [weight], torch.float32), CompiledProducts)
    for other in (weight.bfloat16(), torch.randn(4, 3).t()):
        assert isinstance(choose_products(rows, [weight, other], torch.float32), PlainProducts)
