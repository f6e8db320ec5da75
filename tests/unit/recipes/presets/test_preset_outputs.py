import json
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from typer.testing import CliRunner

import fake_pool
from fake_pool import FakePool, write_tuning_study
from phasewise.cli.app import app
from phasewise.recipes import steps
from phasewise.recipes.presets import module_analysis
from phasewise.recipes.presets.module_analysis import analyse_modules, describe_modules
from phasewise.recipes.presets.outputs import write_preset_outputs
from phasewise.recipes.presets.settings import load_preset
from phasewise.recipes.presets.study import (
    ResolvedPreset,
    resolve_preset,
    write_design_study,
    write_search_study,
)
from phasewise.recipes.request import StudyRequest
from phasewise.records import RunCost, RunRecord
from phasewise.runs import RunConfig
from phasewise.settings import Study, load_study
from phasewise.settings.target_modules import roles_of
from phasewise.statistics import PartEffects
from phasewise.summaries import Optimum
from phasewise.tuning.phases import run_defaults
from phasewise.tuning.search import search_unit

EFFECTS = {"query": 0.05, "down": 0.1, "key": -0.03}
WEIGHTS = {"query": 10, "key": 10, "value": 10, "output": 10, "gate": 30, "up": 30, "down": 20}
UNIT = ("toy", "dora")


def _surface(config: RunConfig) -> float:
    """Parts add up; seeds and configurations move a score by up to 0.002."""
    chosen = roles_of(config.hyperparameters.target_modules)
    noise = hash((config.hyperparameters.target_modules, config.seeds.init)) % 1000 / 5e5
    return 0.5 + sum(EFFECTS.get(role, 0.0) for role in chosen) + noise


@pytest.fixture
def costly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs that score by their modules and have a cost."""
    plain: Callable[..., RunRecord] = fake_pool.build_record

    def build(config: RunConfig, *arguments: object) -> RunRecord:
        roles = roles_of(config.hyperparameters.target_modules)
        cost = RunCost(
            train_seconds=2.0,
            total_seconds=3.0,
            peak_memory_mb=100.0,
            train_tokens=64,
            trainable_parameters=1000 * (5 + sum(WEIGHTS[role] for role in roles)),
            total_parameters=10**6,
            adapter_bytes=4000,
            micro_batch_size=4,
        )
        return plain(config, *arguments).model_copy(update={"cost": cost})

    monkeypatch.setattr(fake_pool, "surface", _surface)
    monkeypatch.setattr(fake_pool, "build_record", build)
    monkeypatch.setattr("phasewise.methods.models.read_family", lambda _: "llama")


@pytest.fixture
def wanted(tmp_path: Path) -> StudyRequest:
    base = write_tuning_study(tmp_path)
    return StudyRequest(output_dir=tmp_path / "out", study=base.path)


def _search(path: Path) -> tuple[Study, Optimum]:
    study = load_study(path)
    run_defaults(study, *UNIT, pool_factory=FakePool)
    return study, search_unit(study, *UNIT, pool_factory=FakePool)


def _preset(name: str, trials: int | None = None) -> ResolvedPreset:
    return resolve_preset(load_preset(name), trials)


@pytest.mark.usefixtures("costly")
def test_modules_are_credited_with_what_they_add(wanted: StudyRequest) -> None:
    path, design = write_design_study(_preset("modules_only"), wanted, seeds=3, most_runs=12)
    study, _ = _search(path)
    found = analyse_modules(study, *UNIT, design.parts)
    assert {part.name: part.effect for part in found.effects.parts} == pytest.approx(
        {part: EFFECTS.get(part, 0.0) for part in design.parts}, abs=0.003
    )
    assert {name: round(weight) for name, weight in found.weights.items()} == {
        part: 1000 * WEIGHTS[part] for part in design.parts
    }
    assert set(found.recommended) >= {"query", "down"}
    assert "key" not in found.recommended
    assert (found.effects.configurations, found.effects.seeds) == (12, 3)
    told = describe_modules(found, "core")
    assert set(told["recommended_modules"]) >= {"q_proj", "down_proj"}
    # The average of `down` is that of all its runs; the effect is what it adds.
    assert told["module_average_scores"]["down_proj"] > 0.5
    ratio = told["module_effects"]["down_proj"]["efficiency_per_million_weights"]
    assert ratio == pytest.approx(0.1 / 0.02, rel=0.05)


@pytest.mark.usefixtures("costly")
def test_the_documented_files_are_there_and_agree(wanted: StudyRequest) -> None:
    preset = _preset("focused", trials=5)
    study, optimum = _search(write_search_study(preset, replace(wanted, fixed={"epochs": 1})))
    folder = wanted.output_dir
    write_preset_outputs(preset, study, UNIT, optimum, folder=folder, modules=None)
    read = {
        path.stem: json.loads(path.read_text())
        for path in (folder / "final_results").glob("*.json")
    }
    assert set(read) == {
        "best_config",
        "study_summary",
        "module_analysis",
        "search_space_analysis",
    }
    summary = read["study_summary"]
    assert (summary["trials"], summary["strategy"]) == (5, "focused")
    assert summary["costs_are"] == "each run's own"
    assert summary["S"] == pytest.approx(summary["S_improved"] - summary["S_baseline"])
    assert summary["train_seconds"] == 10.0
    best = read["best_config"]
    assert best["lora"]["target_modules"] == ["q_proj", "v_proj", "gate_proj", "down_proj"]
    assert best["training"]["num_train_epochs"] == 1
    assert "warmup_ratio" not in best["training"]
    space = read["search_space_analysis"]
    assert len(space["documented_parameters"]) == 7
    assert sum(space["parameters"]["lora_dropout"]["drawn"].values()) == 5
    assert read["module_analysis"]["module_effects"] is None
    assert read["module_analysis"]["module_average_scores"] is None, "nothing compares them"
    assert read["module_analysis"]["recommended_modules"] == best["lora"]["target_modules"]


@pytest.mark.usefixtures("costly")
def test_the_best_configuration_of_a_design_is_what_it_recommends(wanted: StudyRequest) -> None:
    preset = _preset("modules_only")
    path, design = write_design_study(preset, wanted, seeds=3, most_runs=12)
    study, optimum = _search(path)
    found = analyse_modules(study, *UNIT, design.parts)
    folder = wanted.output_dir
    write_preset_outputs(preset, study, UNIT, optimum, folder=folder, modules=found)
    results = folder / "final_results"
    best = json.loads((results / "best_config.json").read_text())["lora"]["target_modules"]
    told = json.loads((results / "module_analysis.json").read_text())["recommended_modules"]
    assert set(best) == set(told)
    assert len(told) < 7, "the luckiest trial has more modules than those that are shown to help"


@pytest.mark.usefixtures("costly")
def test_a_module_is_recommended_below_the_corrected_level_only(
    wanted: StudyRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, design = write_design_study(_preset("modules_only"), wanted, seeds=3, most_runs=12)
    study, _ = _search(path)
    plain = module_analysis.estimate_part_effects

    def doubtful(*arguments: Any) -> PartEffects:
        found = plain(*arguments)
        return found._replace(parts=tuple(p._replace(p_holm=0.095) for p in found.parts))

    monkeypatch.setattr(module_analysis, "estimate_part_effects", doubtful)
    assert analyse_modules(study, *UNIT, design.parts).recommended == ()


@pytest.mark.usefixtures("costly")
def test_the_trials_of_a_design_are_in_the_database_too(wanted: StudyRequest) -> None:
    preset = _preset("quick", trials=4)
    path, design = write_design_study(preset, wanted, seeds=1, most_runs=12)
    first, _ = _search(path)
    found = analyse_modules(first, *UNIT, design.parts)
    study, optimum = _search(write_search_study(preset, wanted))
    folder = wanted.output_dir
    write_preset_outputs(
        preset, study, UNIT, optimum, folder=folder, modules=found, earlier=[first]
    )
    storage = f"sqlite:///{folder / 'optimization.db'}"
    counts = {each.study_name: each.n_trials for each in optuna.get_all_study_summaries(storage)}
    assert counts == {"quick_toy_dora": 4, "quick_modules_toy_dora": 12}


@pytest.mark.usefixtures("costly")
def test_the_database_holds_all_trials_and_no_checkpoint_stays(wanted: StudyRequest) -> None:
    preset = _preset("quick", trials=4)
    study, optimum = _search(write_search_study(preset, wanted))
    for _ in range(2):  # written again, it takes the place of the first
        write_preset_outputs(preset, study, UNIT, optimum, folder=wanted.output_dir, modules=None)
    database = wanted.output_dir / "optimization.db"
    loaded = optuna.load_study(study_name="quick_toy_dora", storage=f"sqlite:///{database}")
    assert [trial.state.name for trial in loaded.trials] == ["COMPLETE"] * 4
    assert loaded.best_value == pytest.approx(optimum.best_value)
    with sqlite3.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM trials").fetchone() == (4,)
    assert not list(wanted.output_dir.rglob("*.safetensors"))


@pytest.mark.usefixtures("costly")
def test_progressive_narrows_its_ranges_around_its_best(
    wanted: StudyRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def search(study: Study, *_: object) -> Optimum:
        run_defaults(study, *UNIT, pool_factory=FakePool)
        return search_unit(study, *UNIT, pool_factory=FakePool)

    monkeypatch.setattr(steps, "run_search", search)
    out = wanted.output_dir
    words = ["preset", "progressive", "--study", wanted.study, "-o", out, "--trials", 10]
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, f"{done.output} {done.exception}"
    assert "Verdict on the search set: " in done.output
    coarse, refined = load_study(out / "study.yaml"), load_study(out / "refined" / "study.yaml")
    assert (coarse.settings.search.trials, refined.settings.search.trials) == (6, 4)
    storage = f"sqlite:///{out / 'optimization.db'}"
    counts = {each.study_name: each.n_trials for each in optuna.get_all_study_summaries(storage)}
    assert counts == {"progressive_toy_dora": 6, "progressive_refined_toy_dora": 4}
    summary = json.loads((out / "final_results" / "study_summary.json").read_text())
    assert summary["trials"] == 4
