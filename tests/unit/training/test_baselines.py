import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from phasewise.runs import UnitPaths, task_baselines_path
from phasewise.settings import Study
from phasewise.summaries import Baseline, TaskBaselines, read_task_baselines
from phasewise.tasks.ledger import read_ledger
from phasewise.training import baselines
from phasewise.training.linear import fit_linear, predict_logits

TOPICS = {0: ("storm", "rain", "cloud"), 1: ("goal", "match", "team")}


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHASEWISE_CACHE", str(tmp_path / "cache"))


def write_topics(folder: Path) -> dict[str, Any]:
    """A task that words give away: weather or sport, two of three rows weather."""
    for split, count in (("train", 90), ("dev", 30)):
        rows = []
        for number in range(count):
            label = int(number % 3 == 0)
            word = TOPICS[label][number // 3 % 3]
            rows.append({"text": f"{split} {number}: about a {word}", "label": label})
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{split}.jsonl").write_text(text, encoding="utf-8")
    return {
        "kind": "classification",
        "source": {"type": "files", "files": {"train": "train.jsonl", "dev": "dev.jsonl"}},
        "splits": {"train": "train", "report": "dev"},
        "text": ["text"],
        "labels": ["weather", "sport"],
        "metric": "accuracy",
        "max_length": 16,
        "doc_stride": 4,
        "train_rows": 45,
        "search_rows": 30,
    }


def by_name(summary: TaskBaselines) -> dict[str, Baseline]:
    return {baseline.name: baseline for baseline in summary.baselines}


@pytest.mark.usefixtures("own_cache")
def test_baselines_are_scored_once_and_written(
    write_study: Callable[..., Study], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = write_study(tasks={"topics": write_topics(tmp_path)})
    summary = baselines.write_task_baselines(study, "topics")
    found = by_name(summary)
    assert found["majority"].search_score == pytest.approx(2 / 3)
    assert found["majority"].report_score == pytest.approx(2 / 3)
    assert found["tfidf_logistic_regression"].report_score == 1
    probe = found["frozen_encoder_probe"].report_score
    assert probe is not None
    assert probe > 0.9
    assert found["zero_shot"].search_score is None
    assert "natural language inference" in found["zero_shot"].note
    assert (summary.train_rows, summary.search_rows, summary.report_rows) == (45, 30, 30)
    assert read_task_baselines(task_baselines_path(study, "topics")) == summary
    ledger = UnitPaths(study, "topics", "lora").ledger
    assert [entry["rows"] for entry in read_ledger(ledger)] == [30]
    monkeypatch.setattr(baselines, "load_task_data", None)  # a second computation would fail
    assert baselines.write_task_baselines(study, "topics") == summary
    assert len(read_ledger(ledger)) == 1


@pytest.mark.usefixtures("own_cache")
def test_questions_have_the_always_unanswerable_baseline(
    write_study: Callable[..., Study], tmp_path: Path
) -> None:
    for split, contexts in (("train", 12), ("dev", 4)):
        rows = [
            {
                "id": f"{split}{c}-{q}",
                "context": f"{split} town{c} lies here",
                "question": "Where?",
                "answers": {"text": ["here"] * (q > 0), "answer_start": [0] * 0},
            }
            for c in range(contexts)
            for q in range(4)
        ]
        for row in rows:
            starts = [row["context"].index("here")] if row["answers"]["text"] else []
            row["answers"]["answer_start"] = starts
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / f"{split}.jsonl").write_text(text, encoding="utf-8")
    task = {
        "kind": "extractive_qa",
        "source": {"type": "files", "files": {"train": "train.jsonl", "dev": "dev.jsonl"}},
        "splits": {"train": "train", "report": "dev"},
        "metric": "f1",
        "max_length": 32,
        "doc_stride": 8,
        "train_rows": 16,
        "search_rows": 16,
    }
    summary = baselines.write_task_baselines(write_study(tasks={"towns": task}), "towns")
    found = by_name(summary)
    assert found["majority"].search_score == 0.25
    assert found["majority"].report_score == 0.25
    assert found["frozen_encoder_probe"].note == "not defined for extractive_qa"


def test_a_class_that_the_sample_lacks_has_the_least_logit() -> None:
    class Fitted:
        classes_ = np.array([0, 2])

        def predict_proba(self, inputs: Any) -> Any:
            return np.array([[1.0, 0.0], [0.25, 0.75]])

    class Task:
        labels = ("a", "b", "c")

    logits = predict_logits(Fitted(), ["x", "y"], Task())  # type: ignore[arg-type]
    assert np.isfinite(logits).all()
    assert logits.argmax(axis=1).tolist() == [0, 2]
    assert logits[1, 1] == logits.min()


def test_the_penalty_is_chosen_unless_a_fold_would_lack_a_class() -> None:
    """With the default penalty 60 rows of 100 dimensions, one of which tells, overfit."""
    generator = np.random.default_rng(0)
    train, new = generator.normal(size=(60, 100)), generator.normal(size=(2000, 100))
    labels, true = (train[:, 0] > 0).astype(int), (new[:, 0] > 0).astype(int)
    chosen = fit_linear("frozen_encoder_probe", train, list(labels))
    plain = make_pipeline(StandardScaler(), LogisticRegression()).fit(train, labels)
    missed, before = (log_loss(true, one.predict_proba(new)) for one in (chosen, plain))
    assert missed < before
    rare = [0] * 59 + [1]
    assert fit_linear("frozen_encoder_probe", train, rare).classes_.tolist() == [0, 1]
