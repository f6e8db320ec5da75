"""What holds for every family of decoders: packing, training, reloading, classification."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import AutoPeftModelForCausalLM, AutoPeftModelForSequenceClassification, PeftModel
from transformers import AutoModelForCausalLM

from phasewise.methods.models import load_base_model
from phasewise.methods.modules import find_target_modules
from phasewise.records import RunRecord
from phasewise.runs import RunConfig, build_seeds, build_unit
from phasewise.settings import CAUSAL_LM, Hyperparameters, MachineSettings, Study, registry_names
from phasewise.tasks.collation import build_collator, build_packing_collator
from phasewise.tasks.data import load_task_data, open_report_data
from phasewise.tasks.predictions import read_predictions
from phasewise.training.interface import RunJob
from phasewise.training.responses import answer_prompts
from phasewise.training.trainer_engine import TrainerEngine
from tiny_models import FAMILIES, write_tiny_decoder

Load = Callable[..., Study]
#: Methods that need what the Llama family has none of: biases.
_OTHER_FAMILY = {"bitfit": "phi"}
_METHODS = [name for name in registry_names("methods") if name != "frozen_probe"]
_COLORS = ["red", "green", "blue", "white", "black", "pink", "gray"]


@pytest.fixture(scope="module")
def engine() -> TrainerEngine:
    return TrainerEngine(MachineSettings(device="cpu"))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    root = tmp_path_factory.mktemp("decoders")

    def folder_of(family: str) -> Path:
        folder = root / family
        return folder if folder.is_dir() else write_tiny_decoder(folder, family)

    return folder_of


def _write_rows(folder: Path) -> None:
    rows = [
        f'{{"question": "{n}: what color is it{"?" * (n % 9 + 1)}", '
        f'"answer": "{_COLORS[n % 7]}{"!" * (n % 5)}", "label": "{_COLORS[n % 7]}"}}\n'
        for n in range(56)
    ]
    (folder / "train.jsonl").write_text("".join(rows), encoding="utf-8")


@pytest.fixture
def load(
    write_study: Callable[..., Study],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    folders: Callable[[str], Path],
) -> Load:
    monkeypatch.setenv("PHASEWISE_CACHE", str(tmp_path / "cache"))
    _write_rows(tmp_path)
    common = {
        "source": {"type": "files", "files": {"train": "train.jsonl"}},
        "splits": {"report": None, "report_rows": 8},
        "train_rows": 28,
        "search_rows": 8,
        "max_length": 64,
    }
    tasks = {
        "answers": {
            **common,
            "kind": "instruction",
            "prompt": {"template": "{question} "},
            "response": "answer",
            "metric": "eval_loss",
            "generation": {"max_new_tokens": 4, "report_metrics": ["rouge_l"]},
        },
        "colors": {
            **common,
            "kind": "classification",
            "text": ["question"],
            "labels": _COLORS,
            "metric": "accuracy",
        },
    }

    def build(task: str, *, family: str = "llama", method: str = "lora", **changes: Any) -> Study:
        return write_study(
            model={"source": str(folders(family)), "dtype": "float32"},
            tasks={task: {**tasks[task], **changes}},
            methods={method: {}},
        )

    return build


def _train(engine: TrainerEngine, study: Study, folder: Path) -> tuple[RunRecord, RunJob]:
    record, job = _run(engine, study, folder)
    assert record.status == "finished", record.message
    return record, job


def _run(engine: TrainerEngine, study: Study, folder: Path) -> tuple[RunRecord, RunJob]:
    (task,), (method,) = study.tasks, study.methods
    config = RunConfig(
        unit_config=build_unit(study, task, method),
        role="default",
        index=0,
        hyperparameters=Hyperparameters(
            learning_rate=3e-3 if method == "full_finetune" else 2e-2,
            batch_size=7,
            epochs=2,
            warmup_ratio=0,
            lora_rank=4,
            loraplus_lr_ratio=2,
        ),
        seeds=build_seeds(0, "phase0", task, 0),
        opens_report_set=True,
        keeps_model=True,
    )
    job = RunJob(config, folder, folder / "ledger.jsonl")
    (record,) = engine.train([job], lambda progress: "continue")
    return record, job


@pytest.mark.parametrize("family", FAMILIES)
def test_packed_examples_have_the_loss_they_have_alone(
    load: Load, engine: TrainerEngine, family: str
) -> None:
    study = load("answers", family=family)
    unit = build_unit(study, "answers", "lora")
    tokenizer = engine._warm.tokenizer(unit)
    features = load_task_data(unit.data, tokenizer, subset_seed=0).train[:9]
    model = load_base_model(unit.model, auto_class=CAUSAL_LM, kwargs={}, tokenizer=None).model
    packed = build_packing_collator(tokenizer, capacity=64)(features)
    padded = build_collator(tokenizer)(features)
    assert len(packed["input_ids"]) < len(features)
    assert packed.pop("token_count") == sum(len(feature["input_ids"]) for feature in features)
    with torch.no_grad():
        together = model(**packed, use_cache=False).loss
        alone = model(**padded, use_cache=False).loss
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_learns_answers_and_its_adapter_reloads(
    load: Load, engine: TrainerEngine, family: str, tmp_path: Path
) -> None:
    study = load("answers", family=family)
    record, job = _train(engine, study, tmp_path / "run")
    assert record.evaluations[-1].metrics["eval_loss"] < record.evaluations[0].metrics["eval_loss"]
    assert set(record.report_metrics) == {"eval_loss", "eval_accuracy", "perplexity", "rouge_l"}
    assert "rouge_l" not in record.search_metrics, "nothing is written where no metric needs it"
    unit, tokenizer = job.config.unit_config, engine._warm.tokenizer(job.config.unit_config)
    rows = open_report_data(unit.data, tokenizer, ledger=job.ledger, run_label="t", reason="test")
    outputs = answer_prompts(
        AutoPeftModelForCausalLM.from_pretrained(job.folder / "model"),
        rows.features,
        engine._warm.collator(unit),
        tokenizer,
        unit.task,
        writes=True,
        batch_size=3,
        device=torch.device("cpu"),
        context=nullcontext,
    )
    stored = read_predictions(job.folder / "predictions.jsonl")
    np.testing.assert_allclose(outputs.losses, [row.logits[0] for row in stored], rtol=1e-4)
    assert outputs.texts == tuple(row.prediction for row in stored)
    assert np.mean([row.correct for row in stored]) == pytest.approx(
        record.report_metrics["eval_loss"]
    )


@pytest.mark.parametrize("method", _METHODS)
def test_every_method_tunes_a_language_model(
    load: Load, engine: TrainerEngine, method: str, tmp_path: Path
) -> None:
    study = load("answers", method=method, family=_OTHER_FAMILY.get(method, "llama"))
    record, job = _train(engine, study, tmp_path / "run")
    losses = [evaluation.metrics["eval_loss"] for evaluation in record.evaluations]
    assert losses[-1] < losses[0]
    saved = job.folder / "model"
    settings = study.methods[method]
    base = load_base_model(
        job.config.unit_config.model,
        auto_class=CAUSAL_LM,
        kwargs={},
        tokenizer=None,
        quantization=settings.quantization,
    ).model
    if settings.trains_adapter:
        reloaded = PeftModel.from_pretrained(base, str(saved))
        assert not [name for name, _ in reloaded.named_parameters() if "lm_head.lora" in name]
    else:
        reloaded = AutoModelForCausalLM.from_pretrained(saved)
    batch = engine._warm.collator(job.config.unit_config)(
        engine._warm.data(job.config)[0].search.features
    )
    with torch.no_grad():
        loss = float(reloaded.eval()(**batch).loss)
    assert loss == pytest.approx(losses[-1], rel=3e-2 if "int8" in method else 1e-4)


def test_a_fresh_head_alone_is_no_way_to_tune_a_language_model(
    load: Load, engine: TrainerEngine, tmp_path: Path
) -> None:
    record, _ = _run(engine, load("answers", method="frozen_probe"), tmp_path / "run")
    assert record.status == "failed"
    assert "AutoModelForCausalLM has none" in record.message


def test_a_model_without_biases_cannot_train_them(
    load: Load, engine: TrainerEngine, tmp_path: Path
) -> None:
    record, _ = _run(engine, load("answers", method="bitfit"), tmp_path / "run")
    assert record.status == "failed"
    assert "bias vectors, and a llama model has none" in record.message


def test_packing_changes_neither_batches_nor_losses(
    load: Load, engine: TrainerEngine, tmp_path: Path
) -> None:
    padded, _ = _train(engine, load("answers"), tmp_path / "padded")
    packed, _ = _train(engine, load("answers", packing=True), tmp_path / "packed")
    assert packed.hash != padded.hash
    for one, other in zip(packed.train_points, padded.train_points, strict=True):
        assert one.loss == pytest.approx(other.loss, rel=1e-4)
    assert packed.cost is not None
    assert padded.cost is not None
    assert packed.cost.train_tokens == padded.cost.train_tokens


def test_accumulated_micro_batches_weigh_tokens_not_rows(
    load: Load, engine: TrainerEngine, tmp_path: Path
) -> None:
    study = load("answers")
    whole, _ = _train(engine, study, tmp_path / "whole")
    training = study.settings.training.model_copy(update={"micro_batch_size": 1})
    study.settings.__dict__["training"] = training
    single, _ = _train(engine, study, tmp_path / "single")
    for one, other in zip(single.train_points, whole.train_points, strict=True):
        assert one.loss == pytest.approx(other.loss, rel=1e-4)


@pytest.mark.parametrize("method", registry_names("methods"))
def test_a_decoder_classifies_seven_classes_with_every_method(
    load: Load, engine: TrainerEngine, method: str, tmp_path: Path
) -> None:
    study = load("colors", method=method, family=_OTHER_FAMILY.get(method, "llama"))
    _, job = _train(engine, study, tmp_path / "run")
    if study.methods[method].quantization != "none" or not study.methods[method].trains_adapter:
        return
    model = AutoPeftModelForSequenceClassification.from_pretrained(
        job.folder / "model", num_labels=7
    ).eval()
    unit, tokenizer = job.config.unit_config, engine._warm.tokenizer(job.config.unit_config)
    model.config.pad_token_id = tokenizer.pad_token_id
    rows = open_report_data(unit.data, tokenizer, ledger=job.ledger, run_label="t", reason="test")
    batch = engine._warm.collator(unit)(rows.features)
    batch.pop("labels")
    with torch.no_grad():
        logits = model(**batch).logits.numpy()
    stored = read_predictions(job.folder / "predictions.jsonl")
    np.testing.assert_allclose(logits, [row.logits for row in stored], atol=1e-4)
    assert {row.prediction for row in stored} <= set(_COLORS)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_decoder_of_any_family_classifies(
    load: Load, engine: TrainerEngine, family: str, tmp_path: Path
) -> None:
    record, job = _train(engine, load("colors", family=family, method="dora"), tmp_path / "run")
    assert record.report_rows == 8
    names = engine._warm.base(
        job.config.unit_config, "AutoModelForSequenceClassification", _label_names()
    ).model.config.id2label
    assert list(names.values()) == _COLORS


def _label_names() -> dict[str, Any]:
    return {
        "num_labels": 7,
        "id2label": dict(enumerate(_COLORS)),
        "label2id": {name: index for index, name in enumerate(_COLORS)},
    }


@pytest.mark.parametrize("family", FAMILIES)
def test_no_group_holds_the_language_models_head(
    folders: Callable[[str], Path], family: str
) -> None:
    model = AutoModelForCausalLM.from_pretrained(folders(family))
    names = find_target_modules(model, "all", exclude=("lm_head",))
    assert len(names) >= 2 * 4
    assert not [name for name in names if "lm_head" in name]
