"""DoRA's compiled scaling against PyTorch's."""

import shutil
from collections.abc import Callable

import pytest
import torch

from phasewise.training.kernels.library import find_kernel, use_kernels
from phasewise.training.kernels.scaling import add_scaled, scale_copied, scale_gradient

pytestmark = [
    pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler"),
    pytest.mark.usefixtures("kernels"),
]
_EACH = [
    pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16]),
    pytest.mark.parametrize("shape", [(1, 16), (5, 37), (40, 384), (0, 8)]),
]


def _each(test: Callable[..., None]) -> Callable[..., None]:
    for mark in _EACH:
        test = mark(test)
    return test


def _make(shape: tuple[int, int], dtype: torch.dtype) -> tuple[torch.Tensor, ...]:
    """Returns two tensors of rows and scales near 1; says that there are kernels for them."""
    generator = torch.Generator().manual_seed(1)
    one, other = (torch.randn(shape, generator=generator).to(dtype) for _ in range(2))
    assert find_kernel("add_scaled", one) is not None
    return one, other, 1 + 0.1 * torch.randn(shape[1], generator=generator)


def _compare(found: torch.Tensor | None, wanted: torch.Tensor | None) -> None:
    rtol = 1e-6 if wanted is not None and wanted.dtype == torch.float32 else 8e-3
    torch.testing.assert_close(found, wanted, rtol=rtol, atol=rtol)


@_each
def test_what_is_added(shape: tuple[int, int], dtype: torch.dtype) -> None:
    out, lifted, scale = _make(shape, dtype)
    wanted = out.float() + lifted.float() * scale
    add_scaled(out, lifted, scale)
    _compare(out, wanted.to(dtype))


@_each
def test_what_is_scaled_and_its_copy(shape: tuple[int, int], dtype: torch.dtype) -> None:
    rows, _, scale = _make(shape, dtype)
    before = rows.clone()
    copied = scale_copied(rows, scale)
    assert torch.equal(copied, before)
    _compare(rows, (before.float() * scale).to(dtype))


@_each
@pytest.mark.parametrize("again", [True, False])
def test_gradients(shape: tuple[int, int], dtype: torch.dtype, again: bool) -> None:
    grad, lifted, scale = _make(shape, dtype)
    found = []
    for compiled in (True, False):
        use_kernels(compiled)
        to_lifted, to_again = torch.empty_like(grad), torch.empty_like(grad) if again else None
        sums = scale_gradient(grad, lifted, scale, to_lifted, to_again)
        found.append((to_lifted, to_again, sums))
    _compare(found[0][0], found[1][0])
    if again:
        _compare(found[0][1], found[1][1])
    exact = (grad.double() * lifted.double()).sum(0).float()
    torch.testing.assert_close(found[0][2], exact, rtol=1e-5, atol=1e-5)
    rtol = 1e-5 if dtype == torch.float32 else 8e-3  # PyTorch rounds each product
    torch.testing.assert_close(found[1][2], exact, rtol=rtol, atol=10 * rtol)


def test_a_gradient_may_be_scaled_in_place() -> None:
    grad, lifted, scale = _make((5, 37), torch.float32)
    wanted = grad * scale, (grad * lifted).sum(0)
    sums = scale_gradient(grad, lifted, scale, grad, None)
    _compare(grad, wanted[0])
    torch.testing.assert_close(sums, wanted[1], rtol=1e-5, atol=1e-5)
