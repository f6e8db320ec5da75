"""A template's copies are the models that PEFT makes, to the bit."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from transformers import set_seed

from phasewise.methods import templates
from phasewise.methods.adapt import adapt_model, build_optimizer, save_model
from phasewise.methods.models import BaseModel
from phasewise.methods.templates import AdapterTemplates
from phasewise.settings import Hyperparameters, MethodSettings

AUTO_CLASS = "AutoModelForSequenceClassification"
Loader = Callable[..., BaseModel]
Methods = Callable[[str], MethodSettings]
CHOICES: list[dict[str, Any]] = [
    {"lora_rank": 3, "lora_dropout": 0.0},
    {"lora_rank": 8, "lora_alpha": 5, "lora_dropout": 0.25},
    {"lora_rank": 3, "lora_alpha": 7, "lora_dropout": 0.5},  # drawn before, but for its settings
]


def _describe(model: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, module in model.named_modules():
        found[f"{name} kind"] = (type(module), module.training, module.extra_repr())
        if isinstance(module, LoraLayer):
            found[f"{name} numbers"] = (module.r, module.lora_alpha, module.scaling)
            found[f"{name} flags"] = (module.use_dora, module.use_rslora, module.merged_adapters)
    for name, weight in model.named_parameters():
        found[name] = (weight.dtype, weight.requires_grad, weight.tolist())
    return found


def _build_both(
    made: AdapterTemplates, base: BaseModel, settings: MethodSettings, chosen: Hyperparameters
) -> tuple[Any, Any]:
    """Returns a model and PEFT's own, which are the same and leave the same random state."""
    set_seed(3)
    model = made.build(base, settings, chosen, AUTO_CLASS)
    drawn_after = torch.rand(2)
    set_seed(3)
    expected = adapt_model(base, settings, chosen, AUTO_CLASS)
    assert torch.equal(drawn_after, torch.rand(2))
    assert _describe(model) == _describe(expected)
    return model, expected


@pytest.mark.parametrize("method", ["lora", "dora", "rslora", "loraplus", "qlora", "int8_lora"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("group", ["query_value", "all"])
def test_copies_equal_what_peft_makes(
    load_tiny: Loader,
    method_of: Methods,
    hyperparameters: Hyperparameters,
    method: str,
    dtype: torch.dtype,
    group: str,
) -> None:
    settings, made = method_of(method), AdapterTemplates()
    base = load_tiny(quantization=settings.quantization, dtype=dtype)
    for changed in ({}, *CHOICES):
        chosen = hyperparameters.model_copy(update={**changed, "target_modules": group})
        model, expected = _build_both(made, base, settings, chosen)
        assert list(model.state_dict()) == list(expected.state_dict())
        assert vars(model.peft_config["default"]) == vars(expected.peft_config["default"])
    (template,) = made._templates.values()
    assert template is not None
    assert len(template._drawn) == len(CHOICES)


@pytest.mark.parametrize("method", ["lora", "dora"])
def test_runs_of_one_template_share_frozen_weights_only(
    load_tiny: Loader,
    method_of: Methods,
    hyperparameters: Hyperparameters,
    batch: dict[str, torch.Tensor],
    method: str,
) -> None:
    base, settings, made = load_tiny(), method_of(method), AdapterTemplates()
    before = {name: tensor.clone() for name, tensor in base.model.state_dict().items()}
    models = []
    for _ in range(2):
        set_seed(3)
        models.append(made.build(base, settings, hyperparameters, AUTO_CLASS))
    first = dict(models[0].named_parameters())
    held = {tensor.data_ptr() for tensor in base.model.parameters()}
    for name, weight in models[1].named_parameters():
        is_own = "default" in name or "original_module" in name
        assert (weight.data_ptr() == first[name].data_ptr()) is not is_own, name
        assert (weight.data_ptr() in held) is not is_own, name
    initial = _describe(models[1])
    optimizer = build_optimizer(models[0], settings, hyperparameters)
    for _ in range(3):
        models[0].train()(**batch).loss.backward()
        optimizer.step()
    assert _describe(models[1]) == initial
    set_seed(3)
    assert _describe(made.build(base, settings, hyperparameters, AUTO_CLASS)) == initial
    for name, tensor in base.model.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_weights_are_drawn_once_for_a_seed_and_a_rank(
    load_tiny: Loader,
    method_of: Methods,
    hyperparameters: Hyperparameters,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    base, settings, made = load_tiny(), method_of("lora"), AdapterTemplates()
    drawn, fill = [], templates._fill
    monkeypatch.setattr(templates, "_fill", lambda *parts: drawn.append(fill(*parts)))

    def count_draws(seed: int, rank: int) -> int:
        before = len(drawn)
        torch.manual_seed(seed)
        chosen = hyperparameters.model_copy(update={"lora_rank": rank})
        made.build(base, settings, chosen, AUTO_CLASS)
        return len(drawn) - before

    layers = count_draws(1, 4)
    (template,) = made._templates.values()
    assert template is not None
    assert [count_draws(1, 4), count_draws(1, 8), count_draws(2, 4)] == [0, layers, layers]
    assert [count_draws(1, 4), count_draws(1, 8), count_draws(2, 4)] == [0, 0, 0]
    template._most = sum(known.size for known in template._drawn.values())
    assert count_draws(3, 4) == layers  # the oldest made way
    assert [count_draws(1, 8), count_draws(2, 4), count_draws(3, 4)] == [0, 0, 0]
    assert count_draws(1, 4) == layers
    template._most = 0
    assert [count_draws(4, 4), count_draws(4, 4)] == [layers, layers]


def test_what_cannot_be_pickled_is_drawn_each_time(
    load_tiny: Loader, method_of: Methods, hyperparameters: Hyperparameters
) -> None:
    base, settings, made = load_tiny(), method_of("lora"), AdapterTemplates()
    next(base.model.children()).register_forward_hook(lambda *parts: None)
    for _ in range(2):
        _build_both(made, base, settings, hyperparameters)
    (template,) = made._templates.values()
    assert template is not None
    assert not template._drawn


def test_a_copy_is_saved_with_its_own_settings(
    load_tiny: Loader,
    method_of: Methods,
    hyperparameters: Hyperparameters,
    batch: dict[str, torch.Tensor],
    tmp_path: Any,
) -> None:
    base, settings, made = load_tiny(), method_of("lora"), AdapterTemplates()
    made.build(base, settings, hyperparameters, AUTO_CLASS)
    chosen = hyperparameters.model_copy(update=CHOICES[1])
    model = made.build(base, settings, chosen, AUTO_CLASS)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.fill_(0.1)
    save_model(model, tmp_path / "model")
    again = PeftModel.from_pretrained(load_tiny().model, tmp_path / "model")
    assert again.peft_config["default"].r == 8
    torch.testing.assert_close(again.eval()(**batch).logits, model.eval()(**batch).logits)


def test_what_would_differ_from_peft_is_left_to_peft(
    load_tiny: Loader,
    method_of: Methods,
    hyperparameters: Hyperparameters,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    base, settings = load_tiny(), method_of("lora")

    def draw_otherwise(layer: Any, config: Any) -> None:
        fill(layer, config)
        torch.rand(1)

    fill = templates._fill
    monkeypatch.setattr(templates, "_fill", draw_otherwise)
    embedding = hyperparameters.model_copy(update={"target_modules": "query+embedding"})
    for chosen in (hyperparameters, embedding):
        made = AdapterTemplates()
        for _ in range(2):
            _build_both(made, base, settings, chosen)
        assert list(made._templates.values()) == [None]


def test_another_base_gets_templates_of_its_own(
    load_tiny: Loader, method_of: Methods, hyperparameters: Hyperparameters
) -> None:
    made = AdapterTemplates()
    for base in (load_tiny(), load_tiny()):
        model = made.build(base, method_of("lora"), hyperparameters, AUTO_CLASS)
        held = {tensor.data_ptr() for tensor in base.model.parameters()}
        assert [w for w in model.parameters() if w.data_ptr() in held]
    full = made.build(base, method_of("full_finetune"), hyperparameters, AUTO_CLASS)
    assert all(weight.requires_grad for weight in full.parameters())
