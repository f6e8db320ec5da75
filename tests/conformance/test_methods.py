"""What every registered method must do, on real MiniLM and real reviews."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import AutoPeftModelForSequenceClassification, PeftModel
from transformers import AutoModelForSequenceClassification, set_seed

from phasewise.methods.adapt import adapt_model, build_optimizer
from phasewise.methods.models import load_base_model
from phasewise.records import RunRecord, read_record, write_record
from phasewise.runs import RunConfig, build_seeds, build_unit
from phasewise.settings import (
    REGISTRY,
    Hyperparameters,
    MachineSettings,
    MethodSettings,
    Study,
    load_space,
    read_yaml,
    registry_names,
)
from phasewise.tasks.data import open_report_data
from phasewise.tasks.predictions import read_predictions
from phasewise.training.interface import RunJob
from phasewise.training.trainer_engine import TrainerEngine

_METHODS = registry_names("methods")
#: The LLM guide's spaces search adapters only.
_LORA_SPACES = {"hpo_basic", "hpo_comprehensive", "hpo_documented", "hpo_memory_constrained"}
_TASK = "rotten_tomatoes"
_ROWS = {"train_rows": 8, "search_rows": 8, "max_length": 16, "splits": {"report_rows": 8}}


@pytest.fixture(scope="module")
def engine() -> TrainerEngine:
    return TrainerEngine(MachineSettings(device="cpu"))


@pytest.fixture
def load(
    write_study: Callable[..., Study], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Study]:
    monkeypatch.setenv("PHASEWISE_CACHE", str(tmp_path / "cache"))
    return lambda method: write_study(tasks={_TASK: _ROWS}, methods={method: {}})


def _train(
    engine: TrainerEngine, study: Study, method: str, folder: Path
) -> tuple[RunRecord, RunJob]:
    default = study.default_hyperparameters(_TASK, method).model_dump()
    # What moves the pretrained weights themselves (PiSSA their principal part) breaks at 5e-3.
    rate = 5e-3 if default["learning_rate"] > 5e-5 else 2e-4
    quick = {"learning_rate": rate, "batch_size": 8}
    config = RunConfig(
        unit_config=build_unit(study, _TASK, method),
        role="default",
        index=0,
        hyperparameters=Hyperparameters(**{**default, **quick, "epochs": 5, "warmup_ratio": 0}),
        seeds=build_seeds(0, "phase0", _TASK, 0),
        opens_report_set=True,
        keeps_model=True,
    )
    job = RunJob(config, folder, folder / "ledger.jsonl")
    (record,) = engine.train([job], lambda progress: "continue")
    return record, job


def _reload(study: Study, method: str, folder: Path) -> Any:
    settings = study.methods[method]
    set_seed(12345)  # a head that was not saved would be drawn anew
    if not settings.trains_adapter:
        return AutoModelForSequenceClassification.from_pretrained(folder)
    if settings.quantization == "none":
        return AutoPeftModelForSequenceClassification.from_pretrained(folder, num_labels=2)
    base = load_base_model(
        study.settings.model,
        auto_class="AutoModelForSequenceClassification",
        kwargs={"num_labels": 2},
        tokenizer=None,
        quantization=settings.quantization,
    )
    return PeftModel.from_pretrained(base.model, str(folder))


@pytest.mark.parametrize("method", _METHODS)
def test_a_method_trains_is_recorded_and_reloads(
    engine: TrainerEngine, load: Callable[[str], Study], tmp_path: Path, method: str
) -> None:
    study = load(method)
    record, job = _train(engine, study, method, tmp_path / "run")
    assert record.status == "finished", record.message
    losses = [evaluation.train_loss for evaluation in record.evaluations]
    assert losses[-1] is not None
    assert losses[0] is not None
    assert losses[-1] < losses[0]
    write_record(job.folder, record)
    assert read_record(job.folder) == record

    model = _reload(study, method, job.folder / "model").eval()
    tokenizer = engine._warm.tokenizer(job.config.unit_config)
    predictions = read_predictions(job.folder / "predictions.jsonl")
    rows = open_report_data(
        job.config.unit_config.data, tokenizer, ledger=job.ledger, run_label="test", reason="test"
    )
    batch = engine._warm.collator(job.config.unit_config)(rows.features)
    with torch.inference_mode():
        logits = model(**{k: v for k, v in batch.items() if k != "labels"}).logits.numpy()
    stored = np.array([row.logits for row in predictions])
    # int8 products round each batch by its own largest value.
    tolerance = 5e-2 if study.methods[method].quantization == "int8" else 1e-4
    np.testing.assert_allclose(logits, stored, atol=tolerance)


@pytest.mark.parametrize("method", _METHODS)
def test_only_what_may_train_does(
    engine: TrainerEngine, load: Callable[[str], Study], method: str, tmp_path: Path
) -> None:
    study = load(method)
    unit, settings = build_unit(study, _TASK, method), study.methods[method]
    auto_class = "AutoModelForSequenceClassification"
    kwargs = {"num_labels": 2, "id2label": {0: "negative", 1: "positive"}}
    base = engine._warm.base(unit, auto_class, kwargs)
    hyperparameters = study.default_hyperparameters(_TASK, method)
    set_seed(0)
    model = adapt_model(base, settings, hyperparameters, auto_class)
    optimizer = build_optimizer(model, settings, hyperparameters)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    model.train()
    batch = {"input_ids": torch.randint(1000, 9000, (4, 9)), "labels": torch.tensor([0, 1, 1, 0])}
    for _ in range(2):  # B is zero at first, so A moves in the second step
        model(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    moved = {n for n, p in model.named_parameters() if not torch.equal(p.detach(), before[n])}
    allowed = {n for n, p in model.named_parameters() if p.requires_grad}
    assert moved <= allowed
    assert any("classifier" in name for name in moved)
    parts = {"full": "", "lora": "lora_", "peft": "", "bias": "bias", "frozen": "classifier"}
    expected = {n for n in allowed if parts[settings.kind] in n and "embeddings" not in n}
    assert not {n for n in expected if n not in moved}
    if settings.kind == "frozen":
        assert moved == {"classifier.weight", "classifier.bias"}


@pytest.mark.parametrize("method", _METHODS)
def test_the_base_stays_as_it_was(
    engine: TrainerEngine, load: Callable[[str], Study], method: str
) -> None:
    study = load(method)
    unit, settings = build_unit(study, _TASK, method), study.methods[method]
    auto_class = "AutoModelForSequenceClassification"
    base = engine._warm.base(unit, auto_class, {"num_labels": 2})
    before = {name: p.detach().clone() for name, p in base.model.named_parameters()}
    hyperparameters = study.default_hyperparameters(_TASK, method)
    set_seed(0)
    adapt_model(base, settings, hyperparameters, auto_class)
    for name, weight in base.model.named_parameters():
        assert torch.equal(weight.detach(), before[name]), name


@pytest.mark.parametrize("method", _METHODS)
@pytest.mark.parametrize("space", [s for s in registry_names("spaces") if s not in _LORA_SPACES])
def test_every_space_has_a_section_for_every_method(
    load: Callable[[str], Study], method: str, space: str
) -> None:
    settings = load(method).methods[method]
    section = load_space(space, REGISTRY / "spaces").parameters_of(settings)
    assert "learning_rate" in section
    assert settings.source
    assert ("lora_rank" in section) == settings.takes("lora_rank")


@pytest.mark.parametrize("space", sorted(_LORA_SPACES))
def test_spaces_of_one_method_search_its_rate_and_rank(space: str) -> None:
    lora = MethodSettings(name="lora", **read_yaml(REGISTRY / "methods" / "lora.yaml"))
    section = load_space(space, REGISTRY / "spaces").parameters_of(lora)
    assert {"learning_rate", "lora_rank"} <= set(section)
