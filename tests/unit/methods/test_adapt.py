from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import AutoPeftModelForSequenceClassification
from transformers import AutoModelForSequenceClassification, set_seed

from phasewise.errors import ConfigError
from phasewise.methods.adapt import adapt_model, build_optimizer, measure_weights, save_model
from phasewise.methods.models import BaseModel
from phasewise.settings import Hyperparameters, MethodSettings

AUTO_CLASS = "AutoModelForSequenceClassification"
Loader = Callable[..., BaseModel]
Methods = Callable[[str], MethodSettings]
Batch = dict[str, torch.Tensor]


def _adapt(base: BaseModel, method: MethodSettings, hyperparameters: Hyperparameters) -> Any:
    set_seed(3)
    return adapt_model(base, method, hyperparameters, AUTO_CLASS)


def _step(model: Any, optimizer: torch.optim.Optimizer, batch: Batch) -> float:
    model.train()
    loss = model(**batch).loss
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return float(loss.detach())


@pytest.mark.parametrize(
    ("method", "scaling"),
    [("lora", 3.0), ("dora", 3.0), ("rslora", 6.0)],  # 12 / 4; 12 / sqrt(4)
)
def test_the_update_is_scaled_by_hand_calculated_numbers(
    load_tiny: Loader,
    method_of: Methods,
    hyperparameters: Hyperparameters,
    method: str,
    scaling: float,
) -> None:
    model = _adapt(load_tiny(), method_of(method), hyperparameters)
    layer = model.get_submodule("base_model.model.bert.encoder.layer.1.attention.self.query")
    assert layer.scaling["default"] == scaling
    with torch.no_grad():
        layer.lora_B["default"].weight.fill_(0.25)
        a = layer.lora_A["default"].weight
        base_weight = layer.base_layer.weight
        weight = base_weight + scaling * 0.25 * torch.ones(16, 4) @ a
        if method == "dora":  # m * W' / ||W'||, rows; m starts as ||W||
            norms = weight.norm(dim=1, keepdim=True)
            weight = base_weight.norm(dim=1, keepdim=True) * weight / norms
        inputs = torch.randn(2, 5, 16)
        expected = inputs @ weight.T + layer.base_layer.bias
        torch.testing.assert_close(layer(inputs), expected, rtol=1e-4, atol=1e-5)


def test_a_new_adapter_changes_nothing(
    load_tiny: Loader, method_of: Methods, hyperparameters: Hyperparameters, batch: Batch
) -> None:
    base = load_tiny()
    full = _adapt(base, method_of("full_finetune"), hyperparameters).eval()
    lora = _adapt(base, method_of("lora"), hyperparameters).eval()
    torch.testing.assert_close(full(**batch).logits, lora(**batch).logits)  # and the same head


def test_the_seed_decides_head_and_adapter_and_the_base_stays(
    load_tiny: Loader, method_of: Methods, hyperparameters: Hyperparameters, batch: Batch
) -> None:
    base = load_tiny()
    before = {name: tensor.clone() for name, tensor in base.model.state_dict().items()}
    states = []
    for name in ("full_finetune", "lora", "frozen_probe", "lora"):
        model = _adapt(base, method_of(name), hyperparameters)
        states.append({k: v.clone() for k, v in model.state_dict().items()})
        _step(model, build_optimizer(model, method_of(name), hyperparameters), batch)
    for name, tensor in base.model.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0)
    torch.testing.assert_close(states[1], states[3], rtol=0, atol=0)
    set_seed(4)
    other = adapt_model(base, method_of("lora"), hyperparameters, AUTO_CLASS).state_dict()
    different = {k for k in other if not torch.equal(other[k], states[1][k])}
    assert any("lora_A" in name for name in different)
    assert any("classifier" in name for name in different)


def test_frozen_weights_are_shared_and_trained_ones_are_not(
    load_tiny: Loader, method_of: Methods, hyperparameters: Hyperparameters
) -> None:
    base = load_tiny()
    own = {tensor.data_ptr() for tensor in base.model.parameters()}
    lora = _adapt(base, method_of("lora"), hyperparameters)
    assert not [n for n, p in lora.named_parameters() if p.requires_grad and p.data_ptr() in own]
    assert [n for n, p in lora.named_parameters() if p.data_ptr() in own]
    full = _adapt(base, method_of("full_finetune"), hyperparameters)
    assert not [n for n, p in full.named_parameters() if p.data_ptr() in own]


@pytest.mark.parametrize("method", ["lora", "dora", "rslora", "loraplus"])
def test_a_reloaded_adapter_with_its_head_predicts_the_same(
    load_tiny: Loader,
    method_of: Methods,
    hyperparameters: Hyperparameters,
    batch: Batch,
    tmp_path: Path,
    method: str,
) -> None:
    model = _adapt(load_tiny(), method_of(method), hyperparameters)
    optimizer = build_optimizer(model, method_of(method), hyperparameters)
    for _ in range(5):
        _step(model, optimizer, batch)
    save_model(model, tmp_path / "model")
    set_seed(99)  # would draw another head
    again = AutoPeftModelForSequenceClassification.from_pretrained(
        tmp_path / "model", num_labels=3
    ).eval()
    logits = model.eval()(**batch).logits
    torch.testing.assert_close(again(**batch).logits, logits, rtol=1e-5, atol=1e-6)
    assert [file.name for file in tmp_path.iterdir()] == ["model"]


def test_a_reloaded_model_predicts_the_same_and_is_readable_by_others(
    load_tiny: Loader,
    method_of: Methods,
    hyperparameters: Hyperparameters,
    batch: Batch,
    tmp_path: Path,
) -> None:
    model = _adapt(load_tiny(), method_of("full_finetune"), hyperparameters)
    _step(model, build_optimizer(model, method_of("full_finetune"), hyperparameters), batch)
    save_model(model, tmp_path / "model")
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model").eval()
    torch.testing.assert_close(again(**batch).logits, model.eval()(**batch).logits)
    assert (tmp_path / "model" / "model.safetensors").stat().st_mode & 0o777 == 0o644


def test_only_matrices_decay(
    load_tiny: Loader, method_of: Methods, hyperparameters: Hyperparameters
) -> None:
    model = _adapt(load_tiny(), method_of("dora"), hyperparameters)
    decaying, other = build_optimizer(model, method_of("dora"), hyperparameters).param_groups
    assert (decaying["weight_decay"], other["weight_decay"]) == (0.1, 0.0)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    slow = [names[id(parameter)] for parameter in other["params"]]
    assert all("magnitude" in name or name.endswith("bias") for name in slow)
    assert any("magnitude" in name for name in slow)


def test_loraplus_trains_b_faster_by_its_ratio(
    load_tiny: Loader, method_of: Methods, hyperparameters: Hyperparameters
) -> None:
    model = _adapt(load_tiny(), method_of("loraplus"), hyperparameters)
    optimizer = build_optimizer(model, method_of("loraplus"), hyperparameters)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    for name, parameter in model.named_parameters():
        if "lora_A" in name:
            assert rates[id(parameter)] == pytest.approx(1e-2)
        if "lora_B" in name:
            assert rates[id(parameter)] == pytest.approx(16e-2)
    assert len(rates) == sum(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("method", ["qlora", "int8_lora"])
def test_quantized_weights_pass_gradients_after_an_evaluation(
    load_tiny: Loader,
    method_of: Methods,
    hyperparameters: Hyperparameters,
    batch: Batch,
    method: str,
) -> None:
    settings = method_of(method)
    base = load_tiny(quantization=settings.quantization)
    for _ in range(2):  # a second run on the same base, too
        model = _adapt(base, settings, hyperparameters)
        optimizer = build_optimizer(model, settings, hyperparameters)
        first = _step(model, optimizer, batch)  # B leaves zero, so that A gets gradients
        with torch.inference_mode():
            model.eval()(**batch)
        for _ in range(8):
            last = _step(model, optimizer, batch)
        flat = [
            n for n, p in model.named_parameters() if p.grad is not None and not p.grad.abs().sum()
        ]
        assert not flat
        assert last < first


def test_sizes_are_counted_by_hand(
    load_tiny: Loader, method_of: Methods, hyperparameters: Hyperparameters
) -> None:
    probe = _adapt(load_tiny(), method_of("frozen_probe"), hyperparameters)
    size = measure_weights(list(probe.parameters()))
    assert size.trainable_parameters == 16 * 3 + 3
    assert size.trainable_bytes == 4 * (16 * 3 + 3)
    query_value = hyperparameters.model_copy(update={"target_modules": "query_value"})
    adapted = _adapt(load_tiny(), method_of("lora"), query_value)
    lora = measure_weights(list(adapted.parameters()))
    assert lora.trainable_parameters == 2 * 2 * (4 * 16 + 16 * 4) + 51  # layers x (q, v) x (A, B)
    assert lora.total_parameters == size.total_parameters + lora.trainable_parameters


def test_dora_over_8_bits_is_refused_on_a_cpu(
    load_tiny: Loader, method_of: Methods, hyperparameters: Hyperparameters
) -> None:
    method = method_of("dora").model_copy(update={"quantization": "int8"})
    with pytest.raises(ConfigError, match="use quantization: nf4, or a GPU"):
        _adapt(load_tiny(quantization="int8"), method, hyperparameters)
