"""DoRA's norms without the matrix."""

import pytest
import torch
from torch import nn

from phasewise.training.kernels.library import use_kernels
from phasewise.training.packed.adapted_product import PairOnRows, apply_pairs
from phasewise.training.packed.frozen_products import LinearProduct
from phasewise.training.packed.low_rank import LowRank, find_row_norms


def test_row_norms_are_those_of_the_merged_matrix() -> None:
    torch.manual_seed(0)
    frozen = nn.Linear(12, 7)
    pair = LowRank(torch.randn(3, 12), torch.randn(7, 3), 2.5, 0.0, torch.rand(7))
    merged = frozen.weight + 2.5 * pair.up @ pair.down
    rows = torch.randn(4, 12)
    assert pair.magnitude is not None
    scale = pair.magnitude / merged.norm(dim=1)
    expected = rows @ merged.T * scale + frozen.bias
    product = LinearProduct(frozen, torch.float32)
    found = apply_pairs(rows, product, [PairOnRows(0, 4, pair, None)])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("computed", ["by PyTorch", "compiled"])
@pytest.mark.usefixtures("kernels")
def test_norms_of_many_pairs_are_those_of_their_matrices(computed: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    frozen = nn.Linear(37, 21).requires_grad_(False).to(dtype)
    magnitudes = (torch.rand(21), None, torch.rand(21), torch.rand(21))
    pairs = [
        LowRank(torch.randn(rank, 37), torch.randn(21, rank), 1.5, 0.0, magnitude)
        for rank, magnitude in zip((1, 4, 20, 64), magnitudes, strict=True)
    ]
    use_kernels(computed == "compiled")  # where there is a compiler
    found = find_row_norms(pairs, frozen, trains=True)
    for pair, norms in zip(pairs, found, strict=True):
        if pair.magnitude is None:
            assert norms is None
        else:
            merged = frozen.weight.float() + 1.5 * pair.up @ pair.down
            torch.testing.assert_close(norms, merged.norm(dim=1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("computed", ["by PyTorch", "compiled"])
@pytest.mark.usefixtures("kernels")
def test_a_row_of_zeros_stays_one_and_leaves_gradients_finite(
    computed: str, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    frozen = nn.Linear(37, 21, bias=False).requires_grad_(False).to(dtype)
    frozen.weight[5] = 0
    up = torch.randn(21, 4).index_fill(0, torch.tensor(5), 0.0)
    pair = LowRank(torch.randn(4, 37), up, 1.5, 0.0, frozen.weight.float().norm(dim=1))
    trained = [weight.requires_grad_() for weight in (pair.down, pair.up, pair.magnitude)]  # type: ignore[union-attr]
    use_kernels(computed == "compiled")  # where there is a compiler
    product = LinearProduct(frozen, dtype)
    out = apply_pairs(torch.randn(3, 37, dtype=dtype), product, [PairOnRows(0, 3, pair, None)])
    out.square().sum().backward()
    assert not out[:, 5].any()
    assert out.isfinite().all()
    for weight in trained:
        assert weight.grad is not None
        assert weight.grad.isfinite().all()
        assert weight.grad.any()
