"""oneDNN's products against double precision, and against PyTorch's own."""

import pytest
import torch
from torch import nn

from phasewise.training import products
from phasewise.training.products import OneDnnLinear, reorders_bfloat16, use_fastest_products

pytestmark = pytest.mark.skipif(
    not hasattr(torch.ops.mkldnn, "_linear_pointwise"), reason="PyTorch was built without oneDNN"
)


@pytest.fixture(autouse=True)
def _faster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "is_onednn_faster", lambda threads: True)


def _gradients(layer: nn.Linear, inputs: torch.Tensor, towards: torch.Tensor) -> list[torch.Tensor]:
    out = layer(inputs)
    return [out, *torch.autograd.grad(out, [inputs, *layer.parameters()], towards)]


@pytest.mark.parametrize("shape", [(7,), (3, 5), (1, 1), (0,), (130,)])
@pytest.mark.parametrize(("out", "bias"), [(2, True), (96, True), (40, False)])
def test_output_and_gradients_are_exact_to_single_precision(
    shape: tuple[int, ...], out: int, bias: bool
) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(64, out, bias=bias)
    use_fastest_products(nn.Sequential(layer))
    assert type(layer) is OneDnnLinear
    exact = nn.Linear(64, out, bias=bias).double()
    exact.load_state_dict(layer.state_dict())
    inputs, towards = torch.randn(*shape, 64, requires_grad=True), torch.randn(*shape, out)
    expected = _gradients(exact, inputs.detach().double().requires_grad_(), towards.double())
    for found, wanted in zip(_gradients(layer, inputs, towards), expected, strict=True):
        error = (found - wanted).detach().norm()
        assert float(error) <= 1e-6 * float(wanted.detach().norm())


def test_a_frozen_weight_costs_no_product() -> None:
    layer = nn.Linear(8, 8).requires_grad_(False)
    use_fastest_products(nn.Sequential(layer))
    inputs = torch.randn(3, 8, requires_grad=True)
    layer(inputs).sum().backward()
    assert layer.weight.grad is None
    torch.testing.assert_close(inputs.grad, layer.weight.sum(0).expand(3, 8))


def test_other_layers_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    double, plain = nn.Linear(4, 4, dtype=torch.float64), nn.Linear(4, 4)
    use_fastest_products(nn.Sequential(double))
    monkeypatch.setattr(products, "is_onednn_faster", lambda threads: False)
    use_fastest_products(nn.Sequential(plain))
    assert type(double) is type(plain) is nn.Linear


def test_bfloat16_weights_stay_where_the_processor_cannot_reorder_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(products, "reorders_bfloat16", lambda: False)
    layer = nn.Linear(4, 4).bfloat16().requires_grad_(False)
    use_fastest_products(nn.Sequential(layer))
    assert type(layer) is nn.Linear


def test_a_frozen_layer_does_not_keep_its_inputs() -> None:
    layer = nn.Linear(64, 96)
    use_fastest_products(nn.Sequential(layer))
    kept: list[torch.Size] = []

    def note(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.shape)
        return tensor

    for trains in (True, False):
        layer.requires_grad_(trains)
        kept.clear()
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            layer(torch.randn(5, 64, requires_grad=True))
        assert (torch.Size([5, 64]) in kept) == trains


def test_a_frozen_weight_is_held_in_both_orders_and_made_again_once_it_changes() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(64, 96).requires_grad_(False)
    use_fastest_products(nn.Sequential(layer))
    for _ in range(2):
        inputs = torch.randn(20, 64, requires_grad=True)
        out = layer(inputs)
        torch.testing.assert_close(out, inputs @ layer.weight.T + layer.bias)
        (grad,) = torch.autograd.grad(out.square().sum(), inputs)
        torch.testing.assert_close(grad, 2 * out @ layer.weight, rtol=1e-4, atol=1e-5)
        held = layer.weight.__dict__[products._REORDERED]
        assert sorted(transposed for transposed, _ in held) == [False, True]
        layer.weight.mul_(2)


def test_weights_of_a_large_model_are_not_held_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "_MOST_REORDERED_BYTES", 100)
    layer = nn.Linear(8, 8).requires_grad_(False)
    use_fastest_products(nn.Sequential(layer))
    layer(torch.randn(3, 8))
    assert products._REORDERED not in layer.weight.__dict__


def test_a_bfloat16_layer_under_autocast_computes_as_pytorchs() -> None:
    torch.manual_seed(0)
    plain = nn.Linear(64, 96).bfloat16().requires_grad_(False)
    layer = nn.Linear(64, 96).bfloat16().requires_grad_(False)
    layer.load_state_dict(plain.state_dict())
    use_fastest_products(nn.Sequential(layer))
    assert type(layer) is (OneDnnLinear if reorders_bfloat16() else nn.Linear)
    inputs = torch.randn(20, 64)
    found, wanted = (inputs.clone().requires_grad_() for _ in range(2))
    with torch.autocast("cpu", torch.bfloat16):
        outs = layer(found), plain(wanted)
    assert outs[0].dtype == torch.bfloat16
    torch.testing.assert_close(*outs)
    for out in outs:
        out.float().sum().backward()
    torch.testing.assert_close(found.grad, wanted.grad, rtol=1e-2, atol=1e-3)


def test_a_weight_of_another_type_than_autocast_s_is_cast_as_pytorch_does() -> None:
    layer = nn.Linear(8, 8)
    use_fastest_products(nn.Sequential(layer))
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.randn(3, 8)).dtype == torch.bfloat16
