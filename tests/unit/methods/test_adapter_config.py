"""Any adapter of PEFT's from YAML alone, and how a wrong one is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import AutoPeftModelForSequenceClassification
from pydantic import ValidationError
from transformers import set_seed

from phasewise.errors import ConfigError
from phasewise.methods.adapt import adapt_model, build_optimizer, save_model
from phasewise.methods.adapter_config import check_adapter
from phasewise.methods.models import BaseModel
from phasewise.settings import Hyperparameters, MethodSettings

AUTO_CLASS = "AutoModelForSequenceClassification"
TARGETS = {"target_modules": "$target_modules"}


def _method(**peft: Any) -> MethodSettings:
    return MethodSettings(
        name="mine", kind="peft", space="mine", source="a test", defaults={}, peft=peft
    )


@pytest.mark.parametrize(
    "peft",
    [
        {"type": "VERA", "r": "$lora_rank", **TARGETS},
        {"type": "IA3", **TARGETS, "feedforward_modules": {"layers": "down"}},
        {"type": "LORA", "r": "$lora_rank", **TARGETS, "init_lora_weights": "pissa"},
        {"type": "LOHA", "r": "$lora_rank", "alpha": "$lora_alpha", **TARGETS},
        {"type": "LN_TUNING", "target_modules": ["LayerNorm"]},
        {"type": "PREFIX_TUNING", "num_virtual_tokens": 3},
    ],
    ids=lambda peft: str(peft["type"]),
)
def test_an_adapter_learns_and_reloads_with_its_head(
    load_tiny: Callable[..., BaseModel],
    hyperparameters: Hyperparameters,
    batch: dict[str, torch.Tensor],
    tmp_path: Path,
    peft: dict[str, Any],
) -> None:
    base, method = load_tiny(), _method(**peft)
    before = {name: weight.detach().clone() for name, weight in base.model.named_parameters()}
    set_seed(3)
    model = adapt_model(base, method, hyperparameters, AUTO_CLASS)
    optimizer = build_optimizer(model, method, hyperparameters)
    started = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}
    for _ in range(3):
        model(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    trained = dict(model.named_parameters())
    moved = [name for name, old in started.items() if not torch.equal(trained[name], old)]
    assert any("classifier" in name for name in moved)
    assert any("classifier" not in name for name in moved)
    for name, weight in base.model.named_parameters():
        assert torch.equal(weight, before[name]), name
    save_model(model, tmp_path / "model")
    set_seed(4)
    loaded = AutoPeftModelForSequenceClassification.from_pretrained(
        tmp_path / "model", num_labels=3
    )
    with torch.no_grad():
        expected = model.eval()(**batch).logits
        torch.testing.assert_close(loaded.eval()(**batch).logits, expected, rtol=1e-4, atol=1e-5)


def test_layers_and_hyperparameters_are_those_of_the_run(
    load_tiny: Callable[..., BaseModel], hyperparameters: Hyperparameters
) -> None:
    method = _method(type="IA3", **TARGETS, feedforward_modules={"layers": "down"})
    chosen = hyperparameters.model_copy(update={"target_modules": "key+value+down"})
    config = adapt_model(load_tiny(layers=1), method, chosen, AUTO_CLASS).peft_config["default"]
    layer = "bert.encoder.layer.0"
    names = [f"{layer}.attention.self.{name}" for name in ("key", "value")]
    assert config.target_modules == {*names, f"{layer}.output.dense"}
    assert config.feedforward_modules == {f"{layer}.output.dense"}
    assert config.task_type == "SEQ_CLS"


@pytest.mark.parametrize(
    ("peft", "expected"),
    [
        ({"type": "VERRA"}, r"^methods\.mine\.peft\.type: PEFT has no 'VERRA'; did you .*'VERA'"),
        ({"type": "VERA", "d_initail": 0.1}, r"unknown key 'd_initail' of PEFT's VeraConfig; did"),
        ({"type": "ADALORA", "total_step": 9}, "ADALORA has to be told of every step"),
    ],
)
def test_what_peft_does_not_know_is_refused_by_name(peft: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        check_adapter(_method(**peft))


def test_what_peft_refuses_becomes_one_line(
    load_tiny: Callable[..., BaseModel], hyperparameters: Hyperparameters
) -> None:
    method = _method(type="LORA", r=0, **TARGETS)
    with pytest.raises(ConfigError, match=r"method 'mine': PEFT cannot add it: .*integer"):
        adapt_model(load_tiny(), method, hyperparameters, AUTO_CLASS)


@pytest.mark.parametrize(
    ("peft", "expected"),
    [
        ({"r": 8}, "expected `type`"),
        ({"type": "VERA", "r": "$lora_rnk"}, r"\$lora_rnk is no hyperparameter .*'lora_rank'"),
        ({"type": "VERA", "task_type": "SEQ_CLS"}, "task_type follows from the task"),
        ({"type": "IA3", "feedforward_modules": {"layers": "dwn"}}, "neither a group"),
    ],
)
def test_settings_refuse_what_needs_no_peft_to_be_seen(peft: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValidationError, match=expected):
        _method(**peft)


def test_only_what_an_adapter_takes_counts_as_its_hyperparameter() -> None:
    method = _method(type="VERA", r="$lora_rank", **TARGETS)
    names = ("lora_rank", "lora_alpha", "lora_alpha_over_rank", "lora_dropout", "epochs")
    assert [name for name in names if method.takes(name)] == ["lora_rank", "epochs"]
    assert method.takes("target_modules")
