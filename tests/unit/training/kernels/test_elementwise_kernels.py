"""Compiled dropout and GELU against PyTorch's."""

import shutil

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - as everywhere
from torch import nn
from transformers.activations import ACT2FN

from phasewise.training.dropout import DropoutMask
from phasewise.training.kernels.elementwise import Gelu, drop, is_exact_gelu
from phasewise.training.kernels.library import find_kernel

pytestmark = [
    pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler"),
    pytest.mark.usefixtures("kernels"),
]


@pytest.mark.parametrize("count", [1, 15, 16, 17, 1000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gelu_and_its_gradient_are_pytorchs(count: int, dtype: torch.dtype) -> None:
    values = torch.linspace(-12, 12, count).to(dtype)
    assert find_kernel("gelu", values) is not None
    found, wanted = (values.clone().requires_grad_() for _ in range(2))
    outs = Gelu()(found), F.gelu(wanted)
    torch.testing.assert_close(*outs, rtol=1e-5 if dtype == torch.float32 else 8e-3, atol=2e-6)
    towards = torch.linspace(1, 2, count).to(dtype)
    for out in outs:
        out.backward(towards)
    torch.testing.assert_close(found.grad, wanted.grad, rtol=1e-2, atol=3e-6)


def test_gelu_and_its_gradient_are_accurate_everywhere() -> None:
    values = torch.linspace(-9, 9, 100001).requires_grad_()
    exact = values.detach().double().requires_grad_()
    outs = Gelu()(values), F.gelu(exact)
    grads = [
        torch.autograd.grad(out.sum(), x)[0] for out, x in zip(outs, (values, exact), strict=True)
    ]
    torch.testing.assert_close(outs[0].double(), outs[1], rtol=3e-7, atol=1.2e-6)
    torch.testing.assert_close(grads[0].double(), grads[1], rtol=0, atol=7e-7)


def test_gelu_of_nan_and_of_infinity() -> None:
    out = Gelu()(torch.tensor([float("nan"), float("inf"), 100.0, -100.0]))
    assert out[0].isnan()
    assert out[1:].tolist() == [float("inf"), 100.0, 0.0]


@pytest.mark.parametrize("shape", [(5,), (3, 64), (1, 7, 33)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_dropped_follows_from_the_draws(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    bits = torch.randint(-(2**15), 2**15, shape, dtype=torch.int16, generator=generator)
    draws = DropoutMask(bits, 1000, 1.25)
    inputs = torch.randn(shape, generator=generator).to(dtype).requires_grad_()
    out = drop(inputs, draws)
    factors = (bits < 1000).to(dtype) * 1.25
    torch.testing.assert_close(out, inputs * factors, rtol=0, atol=0)
    towards = torch.randn(shape, generator=generator).to(dtype)
    (grad,) = torch.autograd.grad(out, inputs, towards)
    torch.testing.assert_close(grad, towards * factors, rtol=0, atol=0)


def test_bfloat16_is_rounded_as_pytorch_rounds() -> None:
    inputs = torch.arange(2**16, dtype=torch.int32).to(torch.int16).view(torch.bfloat16)
    draws = DropoutMask(torch.zeros(2**16, dtype=torch.int16), 1000, 1.1)
    found, wanted = drop(inputs, draws), (inputs.float() * 1.1).bfloat16()
    tiny = wanted.abs() <= torch.finfo(torch.bfloat16).tiny  # some processors make them 0
    torch.testing.assert_close(found[~tiny], wanted[~tiny], rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(found[tiny], wanted[tiny], rtol=0, atol=1.2e-38)


def test_only_the_exact_gelu_is_replaced() -> None:
    assert is_exact_gelu(nn.GELU())
    assert is_exact_gelu(ACT2FN["gelu"])
    assert not is_exact_gelu(nn.GELU(approximate="tanh"))
    assert not is_exact_gelu(ACT2FN["gelu_new"])
    assert not is_exact_gelu(ACT2FN["silu"])
