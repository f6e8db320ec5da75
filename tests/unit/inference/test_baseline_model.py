"""Baselines kept as models: what they predict, their folders, and when they are chosen."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from final_study import TOPICS, read_csv, write_csv, write_found
from typer.testing import CliRunner

from phasewise.cli.app import app
from phasewise.errors import ConfigError
from phasewise.inference.baseline_model import CLASSIFIER_FILE, train_baseline
from phasewise.inference.choice import rank_contenders
from phasewise.inference.evaluating import EvaluationRequest, evaluate_model
from phasewise.inference.loading import read_model_folder
from phasewise.inference.predicting import predict_file
from phasewise.settings import Study
from phasewise.summaries import LinearName
from phasewise.training.baselines import write_task_baselines

NAMES: tuple[LinearName, ...] = ("tfidf_logistic_regression", "frozen_encoder_probe")


def _quiet(line: str) -> None:
    pass


def _predict(folders: list[Path], place: Path, **options: Any) -> list[list[str]]:
    rows = [(f"{TOPICS[i % 3]} {i + 500}", i) for i in range(12)]
    source = write_csv(place / "new.csv", ("text", "id"), rows)
    output = place / "predicted.csv"
    predict_file(folders, source, output, device="cpu", say=_quiet, **options)
    return read_csv(output)


@pytest.mark.parametrize("name", NAMES)
def test_a_kept_baseline_predicts_what_it_was_fitted_to(
    topics: Study, tmp_path: Path, name: LinearName
) -> None:
    folder = train_baseline(topics, "topics", name, tmp_path / name, all_data=True, say=_quiet)
    header, *rows = _predict([folder], tmp_path)
    assert header == ["id", "prediction", "sport", "film", "letter"]
    assert [row[1] for row in rows] == ["sport", "film", "letter"] * 4
    assert all(sum(map(float, row[2:])) == pytest.approx(1) for row in rows)


def test_all_data_adds_the_search_set_but_not_the_report_set(topics: Study, tmp_path: Path) -> None:
    folder = train_baseline(
        topics, "topics", NAMES[0], tmp_path / "model", all_data=True, say=_quiet
    )
    record = read_model_folder(folder).baseline
    assert record is not None
    assert record.train_rows == 90  # of 120, 30 of them the report set
    assert "host" not in record.environment


def test_it_can_be_averaged_with_a_fine_tuned_model(
    topics: Study, trained: Callable[[str], Path], tmp_path: Path
) -> None:
    linear = train_baseline(topics, "topics", NAMES[1], tmp_path / "linear", say=_quiet)
    tuned = trained("lora")
    one, other, mean = (_predict(f, tmp_path) for f in ([linear], [tuned], [linear, tuned]))
    for left, right, both in zip(one[1:], other[1:], mean[1:], strict=True):
        expected = [(float(a) + float(b)) / 2 for a, b in zip(left[2:], right[2:], strict=True)]
        assert [float(value) for value in both[2:]] == pytest.approx(expected)


def test_it_is_kept_once_and_replaces_nothing_else(topics: Study, tmp_path: Path) -> None:
    said: list[str] = []
    folder = train_baseline(topics, "topics", NAMES[0], tmp_path / "model", say=_quiet)
    train_baseline(topics, "topics", NAMES[0], folder, say=said.append)
    assert said == [f"{folder}: trained already"]
    with pytest.raises(ConfigError, match="holds something else"):
        train_baseline(topics, "topics", NAMES[1], folder, say=_quiet)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="holds something else"):
        train_baseline(topics, "topics", NAMES[0], tmp_path / "other", say=_quiet)


def test_one_of_a_model_that_was_changed_in_place_is_not_kept(
    topics: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = train_baseline(topics, "topics", NAMES[0], tmp_path / "model", say=_quiet)
    monkeypatch.setattr("phasewise.runs.fingerprint_model", lambda model: "sha256:other")
    with pytest.raises(ConfigError, match="a baseline of other settings"):
        train_baseline(topics, "topics", NAMES[0], folder, say=_quiet)


def test_a_damaged_one_is_told_in_a_line(topics: Study, tmp_path: Path) -> None:
    folder = train_baseline(topics, "topics", NAMES[0], tmp_path / "model", say=_quiet)
    (folder / CLASSIFIER_FILE).write_bytes(b"\x80\x04cos\nsystem\n")  # a pickle's beginning
    with pytest.raises(ConfigError, match=r"cannot be read .*train the baseline again"):
        _predict([folder], tmp_path)


def test_it_scores_on_the_report_set_as_phase_0_said(topics: Study, tmp_path: Path) -> None:
    """Without --all-data it is the very classifier that was scored."""
    folder = train_baseline(topics, "topics", NAMES[1], tmp_path / "model", say=_quiet)
    request = EvaluationRequest(study=topics, task="topics", device="cpu")
    scores = evaluate_model(folder, request, tmp_path / "evaluation.json").scores
    assert scores is not None
    said = {each.name: each for each in write_task_baselines(topics, "topics").baselines}
    assert scores.metrics["accuracy"] == said[NAMES[1]].report_score
    profile = EvaluationRequest(profile=True, device="cpu")
    with pytest.raises(ConfigError, match="this is a baseline"):
        evaluate_model(folder, profile, tmp_path / "profile.json")


@pytest.mark.parametrize(
    ("confirmed", "first"),
    [(0.99, "TF-IDF + logistic regression"), (1.0, "TF-IDF + logistic regression"), (1.01, "lora")],
)
def test_the_best_on_the_search_set_comes_first_and_the_cheaper_of_equals(
    topics: Study, confirmed: float, first: str
) -> None:
    """TF-IDF scores 1 on these texts; 1.01 stands for whatever is better."""
    write_task_baselines(topics, "topics")
    write_found(topics, "lora", confirmed_value=confirmed)
    ranked = rank_contenders(topics, "topics")
    assert ranked[0].label == first
    assert ranked == sorted(ranked, key=lambda one: -one.score)


def test_the_default_as_the_best_trial_counts_with_all_its_seeds(topics: Study) -> None:
    """A lucky trial of settings that Phase 0 saw fail, in a search that had no time to confirm."""
    write_task_baselines(topics, "topics")
    luck = {"best_value": 1.01, "baseline_value": 0.6, "confirmed_value": None}
    write_found(topics, "lora", **luck, best_hyperparameters={})
    ranked = rank_contenders(topics, "topics")
    assert (ranked[-1].label, ranked[-1].score) == ("lora", 0.6)
    write_found(topics, "lora", **luck)  # others than the default's: nothing else is known of them
    assert rank_contenders(topics, "topics")[0].score == 1.01


def test_train_without_an_optimum_trains_the_best(topics: Study, tmp_path: Path) -> None:
    write_task_baselines(topics, "topics")
    write_found(topics, "lora", confirmed_value=0.5)
    call = ["train", "--study", str(topics.path), "--output", str(tmp_path / "best")]
    done = CliRunner().invoke(app, call)
    assert done.exit_code == 0, done.output
    baseline = read_model_folder(tmp_path / "best").baseline
    assert baseline is not None
    assert baseline.name == NAMES[0]


def test_an_optimum_and_a_baseline_exclude_each_other(topics: Study, tmp_path: Path) -> None:
    optimum = write_found(topics, "lora")
    call = ["train", "--study", str(topics.path), "--optimal", str(optimum)]
    call += ["--baseline", NAMES[0], "--output", str(tmp_path / "best")]
    done = CliRunner().invoke(app, call)
    assert isinstance(done.exception, ConfigError)
    assert "leave out --task and --baseline" in str(done.exception)


def test_an_unknown_task_is_refused(topics: Study) -> None:
    call = ["train", "--study", str(topics.path), "--task", "none", "--output", "x"]
    done = CliRunner().invoke(app, call)
    assert isinstance(done.exception, ConfigError)
    assert "no task 'none'" in str(done.exception)
