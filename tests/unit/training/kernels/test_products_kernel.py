"""The compiled products with weights that were ordered once, against PyTorch's in float64."""

import ctypes
import shutil
from typing import Any

import pytest
import torch

from phasewise.training.kernels.library import address_of, find_kernel

pytestmark = [
    pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler"),
    pytest.mark.usefixtures("kernels"),
]
_ROWS = (*range(1, 18), 100)
_COLUMNS = (1, 16, 40, 48, 384)
#: In float32 relative to the sum of magnitudes; bfloat16 results are rounded, too.
_TOLERANCES = {torch.float32: (0.0, 1e-5), torch.bfloat16: (2.0**-8, 1e-3)}


def _call(name: str, tensor: torch.Tensor, *arguments: Any, returns: Any = None) -> Any:
    """Calls a kernel for the tensor's type; integers become ``long``s."""
    kernel = find_kernel(name, tensor)
    assert kernel is not None
    kernel.restype = returns
    given = (ctypes.c_long(a) if type(a) is int else a for a in arguments)
    return kernel(*given)


def _order(right: torch.Tensor) -> torch.Tensor:
    """Returns the right factor (k, n), of any steps, as the kernel wants it."""
    k, n = right.shape
    size = _call("ordered_size", right, k, n, returns=ctypes.c_long)
    assert size >= k * n
    to = torch.full((size,), torch.nan, dtype=right.dtype)
    _call("order", right, address_of(right), *right.stride(), k, n, address_of(to))
    assert not to.isnan().any()
    return to


def _multiply(
    rows: torch.Tensor,
    right: torch.Tensor,
    bias: torch.Tensor | None = None,
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """Returns the product; adds it to ``out`` where that is given."""
    adds = ctypes.c_bool(out is not None)
    if out is None:
        out = torch.full((rows.shape[0], right.shape[1]), torch.nan, dtype=rows.dtype)
    at_bias = ctypes.c_void_p() if bias is None else address_of(bias)
    ordered = _order(right)
    left = (address_of(rows), rows.shape[0], rows.stride(0), address_of(ordered))
    to = (at_bias, address_of(out), out.stride(0), adds)
    _call("multiply_ordered", rows, *left, *right.shape, *to)
    return out


def _check(
    found: torch.Tensor, rows: torch.Tensor, right: torch.Tensor, *added: torch.Tensor
) -> None:
    """Compares with what float64 gives, of the same rounded factors."""
    wanted = rows.double() @ right.double()
    size = rows.double().abs() @ right.double().abs()
    for term in added:
        wanted, size = wanted + term.double(), size + term.double().abs()
    relative, of_size = _TOLERANCES[found.dtype]
    assert bool(((found.double() - wanted).abs() <= relative * wanted.abs() + of_size * size).all())


def _draw(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("k", [1, 2, 15, 384])
def test_products_of_many_sizes(k: int, dtype: torch.dtype) -> None:
    for n in _COLUMNS:
        weight = _draw(n, k, dtype=dtype)
        for count in _ROWS:
            rows = _draw(count, k, dtype=dtype)
            _check(_multiply(rows, weight.t()), rows, weight.t())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("count", "k", "n"), [(9, 15, 40), (300, 1536, 50), (0, 8, 16)])
def test_bias_what_is_added_to_and_wide_steps(
    count: int, k: int, n: int, dtype: torch.dtype
) -> None:
    weight, bias = _draw(n, k, dtype=dtype), _draw(n)
    wide = torch.full((count, k + 3), torch.nan, dtype=dtype)  # what lies behind a row is not read
    wide[:, :k] = _draw(count, k, dtype=dtype)
    rows = wide[:, :k]
    _check(_multiply(rows, weight.t(), bias), rows, weight.t(), bias)
    before = _draw(count, n + 5, dtype=dtype)
    after = before.clone()
    _multiply(rows, weight.t(), bias, after[:, :n])
    _check(after[:, :n], rows, weight.t(), bias, before[:, :n])
    assert torch.equal(after[:, n:], before[:, n:])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_backward_product_orders_the_same_weight_the_other_way(dtype: torch.dtype) -> None:
    weight, grads = _draw(37, 50, dtype=dtype), _draw(11, 37, dtype=dtype)
    _check(_multiply(grads, weight), grads, weight)


def test_without_features_only_the_bias_is_left() -> None:
    bias = _draw(20)
    found = _multiply(torch.empty(3, 0), torch.empty(0, 20), bias)
    assert torch.equal(found, bias.expand(3, 20))
