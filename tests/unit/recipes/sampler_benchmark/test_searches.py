"""Searches at equal budget, on a forest fitted to measured trials or on trainings."""

import json
import math
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest
import yaml

from fake_pool import FakePool, build_record, write_tuning_study
from phasewise.errors import DataError
from phasewise.recipes.sampler_benchmark.searches import run_search
from phasewise.recipes.sampler_benchmark.surrogate import Surrogate
from phasewise.recipes.sampler_benchmark.unit import benchmark_unit
from phasewise.records import write_record
from phasewise.runs import build_seeds
from phasewise.settings import Hyperparameters, Study, load_study, merge_hyperparameters
from phasewise.tuning.startup import sobol_draws
from phasewise.tuning.units import Unit

MEASURED = 40


def _study(folder: Path, **benchmark: Any) -> Study:
    """A study of which Phase 1 has measured the fake pool's surface at 40 points."""
    search = {"trials": MEASURED, "sampler": "qmc", "confirm_top": 1}
    study = write_tuning_study(folder, **search)
    content = yaml.safe_load(Path(study.path).read_text(encoding="utf-8"))
    content["sampler_benchmark"] = {"samplers": ["random", "tpe"], **benchmark}
    Path(study.path).write_text(yaml.safe_dump(content), encoding="utf-8")
    return load_study(Path(study.path))


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Study:
    study = _study(tmp_path_factory.mktemp("measured"), trials=12, seeds=3)
    unit = Unit(study, "toy", "lora")
    for number, draw in enumerate(sobol_draws(unit.space, MEASURED, seed=1)):
        chosen = merge_hyperparameters(unit.default, draw.values)
        job = unit.job("trial", number, chosen, build_seeds(0, "phase1", "toy", 0))
        write_record(job.folder, build_record(job.config, "finished"))
    return study


def test_forest_predicts_unseen_trainings(measured: Study) -> None:
    found = benchmark_unit(measured, "toy", "lora")
    assert found.fit is not None
    assert found.fit.trainings == MEASURED
    assert found.fit.rank_correlation > 0.7
    assert 0.4 < found.fit.explained < 1


def test_forest_answers_as_scikit_learn_does(measured: Study) -> None:
    unit = Unit(measured, "toy", "lora")
    rates = np.geomspace(1e-5, 1e-2, 20)
    chosen = [unit.default.model_copy(update={"learning_rate": float(rate)}) for rate in rates]
    surrogate = Surrogate(unit.space, chosen, list(np.linspace(0, 1, 20)), seed=0)
    expected = surrogate._forest.predict([surrogate._encode(chosen[3])])[0]
    assert surrogate.score(chosen[3], 0) == pytest.approx(expected)


def test_every_sampler_searches_at_equal_budget_on_every_seed(measured: Study) -> None:
    found = benchmark_unit(measured, "toy", "lora")
    assert [(s.sampler, s.seed) for s in found.searches] == [
        (sampler, seed) for seed in range(3) for sampler in ("random", "tpe")
    ]
    assert {len(search.values) for search in found.searches} == {12}
    # Optuna's TPE draws its first ten as RandomSampler with the same seed does.
    random, tpe = found.searches[:2]
    assert random.values[:10] == tpe.values[:10]
    assert random.values != tpe.values


def test_ended_searches_are_kept_and_others_follow(measured: Study) -> None:
    first = benchmark_unit(measured, "toy", "lora")
    path = Unit(measured, "toy", "lora").paths.root / "sampler_benchmark" / "searches.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["searches"] = content["searches"][:2]
    content["searches"][0]["draw_seconds"] = 123.0
    path.write_text(json.dumps(content), encoding="utf-8")
    again = benchmark_unit(measured, "toy", "lora")
    assert again.searches[0].draw_seconds == 123.0
    assert [s.values for s in again.searches] == [s.values for s in first.searches]
    path.write_text(json.dumps({**content, "hash": "of other settings"}), encoding="utf-8")
    anew = benchmark_unit(measured, "toy", "lora")
    assert anew.searches[0].draw_seconds < 123.0


def test_live_trains_every_trial_and_equal_settings_once(tmp_path: Path) -> None:
    study = _study(tmp_path, trials=4, seeds=2, live=True)
    started: list[str] = []

    def pool() -> FakePool:
        made = FakePool()
        started.clear()
        made.started = started
        return made

    found = benchmark_unit(study, "toy", "lora", pool_factory=pool)
    assert found.fit is None
    # Both samplers draw the same four at random, so that half of the trainings are enough.
    assert len(started) == 8
    assert found.searches[0].values == found.searches[1].values
    assert found.searches[0].values != found.searches[2].values
    (Unit(study, "toy", "lora").paths.root / "sampler_benchmark" / "searches.json").unlink()
    started.clear()
    again = benchmark_unit(study, "toy", "lora", pool_factory=pool)
    assert not started
    assert [s.values for s in again.searches] == [s.values for s in found.searches]


def test_trial_without_a_score_is_told_as_pruned(tmp_path: Path) -> None:
    space = Unit(_study(tmp_path), "toy", "lora").space

    def score(chosen: Hyperparameters, _: int) -> float | None:
        return None if chosen.learning_rate > 1e-3 else math.log(chosen.learning_rate)

    found = run_search(space, score, sampler="tpe", trials=20, seed=0, stream=1)
    assert None in found.values[:10]
    assert len(found.values) == 20
    early, late = (
        [v for v in part if v is not None] for part in (found.values[:10], found.values[10:])
    )
    assert fmean(late) > fmean(early)  # it learns beside the trials that have no score


def test_grid_ends_when_it_is_used_up(tmp_path: Path) -> None:
    space = Unit(_study(tmp_path), "toy", "lora").space
    small = replace(
        space, parameters={k: v for k, v in space.parameters.items() if k == "batch_size"}
    )
    found = run_search(small, lambda _, __: 0.5, sampler="grid", trials=9, seed=0, stream=1)
    assert len(found.values) == 3


def test_too_few_trainings_are_refused(tmp_path: Path) -> None:
    unit = Unit(_study(tmp_path), "toy", "lora")
    with pytest.raises(DataError, match=r"at least 20 finished trials .* got 5"):
        Surrogate(unit.space, [unit.default] * 5, list(np.linspace(0, 1, 5)), seed=0)


def test_equal_trainings_are_refused(tmp_path: Path) -> None:
    unit = Unit(_study(tmp_path), "toy", "lora")
    with pytest.raises(DataError, match="scored the same"):
        Surrogate(unit.space, [unit.default] * 20, [0.5] * 20, seed=0)
