"""What a base's configuration brings along changes no run, whatever the engine; it is told."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    RobertaConfig,
    RobertaModel,
    set_seed,
)
from typer.testing import CliRunner

from phasewise.cli.app import app
from phasewise.errors import ConfigError
from phasewise.records import RunRecord
from phasewise.runs import RunConfig, build_seeds, build_unit
from phasewise.settings import Hyperparameters, MachineSettings, ModelSettings, Study
from phasewise.tasks.kinds import KINDS, get_kind
from phasewise.training.auto_engine import AutoEngine
from phasewise.training.baselines import write_task_baselines
from phasewise.training.interface import RunJob
from phasewise.training.prediction import predict
from phasewise.training.trainer_engine import TrainerEngine
from phasewise.training.warm import WarmParts
from tiny_models import write_byte_tokenizer, write_tiny_bert, write_tiny_decoder

Load = Callable[..., Study]
_MACHINE = MachineSettings(device="cpu", slots=4)
_ENGINES = {"trainer": TrainerEngine, "packed": AutoEngine}


@pytest.fixture
def load(
    write_study: Callable[..., Study], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Load:
    monkeypatch.setenv("PHASEWISE_CACHE", str(tmp_path / "cache"))
    rows = [
        {"text": f"{n}: what{' a day' * (n % 5)}!", "label": ["no way", "of course"][n % 2]}
        for n in range(60)
    ]
    lines = [json.dumps(row) for row in rows]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines), encoding="utf-8")

    def build(base: Path, method: str = "lora", **changes: Any) -> Study:
        task = {
            "kind": "classification",
            "source": {"type": "files", "files": {"train": "rows.jsonl"}},
            "splits": {"report": None, "report_rows": 8},
            "text": ["text"],
            "labels": ["no way", "of course"],
            "metric": "accuracy",
            "train_rows": 24,
            "search_rows": 12,
            "max_length": 48,
        }
        return write_study(
            model={"source": str(base), "dtype": "float32"},
            tasks={"own": {**task, **changes}},
            methods={method: {}},
        )

    return build


def _configure(study: Study) -> RunConfig:
    (method,) = study.methods
    chosen = Hyperparameters(epochs=1, batch_size=4, learning_rate=1e-2)
    return RunConfig(
        unit_config=build_unit(study, "own", method),
        role="trial",
        index=0,
        hyperparameters=chosen,
        seeds=build_seeds(0, "phase1", "own", 0),
    )


def _train(engine: str, study: Study, folder: Path) -> RunRecord:
    job = RunJob(_configure(study), folder, folder / "ledger.jsonl")
    (record,) = _ENGINES[engine](_MACHINE).train([job], lambda progress: "continue")
    return record


def _logits(study: Study, batch_size: int) -> Any:
    warm, config = WarmParts(torch.device("cpu")), _configure(study)
    unit = config.unit_config
    return predict(
        warm.build_model(config),
        warm.data(config)[0].search.features,
        warm.collator(unit),
        batch_size=batch_size,
        device=warm.device,
        context=warm.context(unit),
    )


def _check(study: Study) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["check", "--study", str(study.path)])
    return done.exit_code, done.output + str(done.exception or "")


def _edit_config(base: Path, **changes: Any) -> Path:
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    (base / "config.json").write_text(json.dumps({**config, **changes}), encoding="utf-8")
    return base


def test_a_row_scores_the_same_alone_and_in_a_batch_whatever_pad_token_the_config_names(
    load: Load, tmp_path: Path
) -> None:
    study = load(write_tiny_decoder(tmp_path / "base", pad_token_id=300))
    assert "its configuration names padding token 300, its tokenizer 0: 0" in _check(study)[1]
    np.testing.assert_allclose(_logits(study, 12), _logits(study, 1), atol=1e-5)
    records = [_train(engine, study, tmp_path / engine) for engine in _ENGINES]
    assert [record.status for record in records] == ["finished", "finished"]
    losses = [[point.loss for point in record.train_points] for record in records]
    np.testing.assert_allclose(*losses, rtol=1e-3)
    plain = load(write_tiny_decoder(tmp_path / "plain", pad_token_id=None))
    assert np.array_equal(_logits(plain, 12), _logits(study, 12))


@pytest.mark.parametrize("method", ["full_finetune", "lora"])
def test_the_task_decides_the_loss(load: Load, tmp_path: Path, method: str) -> None:
    base = write_tiny_bert(tmp_path / "base")
    plain = [_train(e, load(base, method), tmp_path / f"plain-{e}") for e in _ENGINES]
    _edit_config(base, problem_type="regression")
    for engine, expected in zip(_ENGINES, plain, strict=True):
        record = _train(engine, load(base, method), tmp_path / engine)
        assert record.train_points == expected.train_points, record.message
    code, said = _check(load(base, method))
    assert code == 0
    assert "problem_type regression, the task single_label_classification: the task's" in said


@pytest.mark.parametrize("engine", _ENGINES)
@pytest.mark.parametrize("method", ["full_finetune", "lora"])
def test_the_head_of_a_base_with_other_classes_is_drawn_anew(
    load: Load, tmp_path: Path, engine: str, method: str
) -> None:
    base = write_tiny_bert(tmp_path / "base")
    body = load(base, method)
    expected = _train(engine, body, tmp_path / "plain")
    config = BertConfig.from_pretrained(base, num_labels=3)
    tuned = BertForSequenceClassification.from_pretrained(base, config=config)
    tuned.save_pretrained(base)
    record = _train(engine, load(base, method), tmp_path / "run")
    assert record.train_points == expected.train_points, record.message


def test_check_and_baselines_say_in_one_line_that_the_head_is_new(
    load: Load, tmp_path: Path
) -> None:
    base = write_tiny_bert(tmp_path / "base")
    config = BertConfig.from_pretrained(base, num_labels=3)
    BertForSequenceClassification(config).save_pretrained(base)
    study = load(base)
    line = (
        f"model {base}: it was fine-tuned before (BertForSequenceClassification, 3 labels): its "
        "head is drawn anew for the task's 2"
    )
    code, said = _check(study)
    assert code == 0
    assert said.count("drawn anew") == 1
    assert line in said
    assert write_task_baselines(study, "own").notes[0] == line


def test_weights_of_other_shapes_outside_the_head_are_refused(load: Load, tmp_path: Path) -> None:
    base = _edit_config(write_tiny_bert(tmp_path / "base"), intermediate_size=96)
    record = _train("trainer", load(base), tmp_path / "run")
    assert record.status == "failed"
    assert "expected weights of the shapes that its configuration says" in record.message


def _write_roberta(folder: Path) -> Path:
    """66 rows of positions, of which tokens have 64: counting starts after the padding token, 1."""
    write_byte_tokenizer(folder)
    set_seed(0)
    config = RobertaConfig(
        vocab_size=320,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=48,
        max_position_embeddings=66,
        pad_token_id=1,
    )
    RobertaModel(config).save_pretrained(folder)
    return folder


def test_more_tokens_than_positions_are_refused_before_anything_trains(
    load: Load, tmp_path: Path
) -> None:
    base = _write_roberta(tmp_path / "base")
    study = load(base, max_length=65)
    code, said = _check(study)
    assert code != 0
    assert "tasks.own.max_length 65: expected at most 64, the positions of model" in said
    with pytest.raises(ConfigError, match="max_length 65: expected at most 64"):
        write_task_baselines(study, "own")
    for engine in _ENGINES:
        record = _train(engine, study, tmp_path / engine)
        assert record.status == "failed"
        assert "max_length 65: expected at most 64" in record.message
        assert not record.train_points
    assert _check(load(base, max_length=64))[0] == 0


def test_positions_counted_from_the_padding_token_keep_it(load: Load, tmp_path: Path) -> None:
    """The tokenizer's own is its end token, 0; rows of 64 tokens and batches of rows are read."""
    study = load(_write_roberta(tmp_path / "base"), max_length=64)
    warm = WarmParts(torch.device("cpu"))
    config = _configure(study)
    assert warm.tokenizer(config.unit_config).pad_token_id == 1
    kind = get_kind(study.tasks["own"])
    kwargs = kind.model_kwargs(study.tasks["own"])
    base = warm.base(config.unit_config, kind.auto_class, kwargs)
    assert base.model.config.pad_token_id == 1
    np.testing.assert_allclose(_logits(study, 12), _logits(study, 1), atol=1e-5)


def test_a_question_answering_head_has_two_outputs_whatever_the_base_was_tuned_for(
    tmp_path: Path,
) -> None:
    from phasewise.methods.models import load_base_model, load_tokenizer

    base = write_tiny_bert(tmp_path / "base")
    config = BertConfig.from_pretrained(base, num_labels=3)
    BertForSequenceClassification(config).save_pretrained(base)
    model, kind = ModelSettings(source=str(base)), KINDS["extractive_qa"]
    loaded = load_base_model(
        model,
        auto_class=kind.auto_class,
        kwargs=kind.model_kwargs(None),  # type: ignore[arg-type]
        tokenizer=load_tokenizer(model),
    ).model
    assert loaded.qa_outputs.out_features == 2
