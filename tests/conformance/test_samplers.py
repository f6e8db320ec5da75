"""Every sampler and every pruner by name, on one synthetic surface."""

import math
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import optuna
import pytest
from pydantic import TypeAdapter, ValidationError

from fake_pool import FakePool, write_tuning_study
from phasewise.pruners import PRUNERS
from phasewise.recipes.sampler_benchmark.openbox_sampler import PYTHON_VARIABLE
from phasewise.recipes.sampler_benchmark.searches import run_search
from phasewise.records import Evaluation
from phasewise.report.citations import collect_bibtex
from phasewise.samplers import SamplerSize, all_samplers, sampler_kind
from phasewise.settings import (
    Hyperparameters,
    Parameter,
    PrunerName,
    SamplerName,
    SearchSettings,
)
from phasewise.summaries import Optimum
from phasewise.tuning.pruners import TrialPruner, build_pruner
from phasewise.tuning.samplers import build_sampler
from phasewise.tuning.search import search_unit
from phasewise.tuning.spaces import Space, suggest
from phasewise.tuning.storage import connect
from phasewise.tuning.units import Unit

TRIALS = 14
#: How many of 14 trials a model draws, with four searched parameters. cmaes: 14 less trial 0 and a
#: population of 4 + floor(3 ln 4) = 8.
MODEL_BASED = {
    "schedule": 10,
    "tpe": 4,
    "random": 0,
    "qmc": 0,
    "grid": 0,
    "gp": 10,
    "cmaes": 5,
    "nsga2": 10,
    "hyperopt": 4,
    "openbox": 11,
}
#: Why a sampler cannot be run here; run them with hyperopt installed and the variable set.
ABSENT = {
    "hyperopt": None if find_spec("hyperopt") else "the extra hyperopt is not installed",
    "openbox": None if os.environ.get(PYTHON_VARIABLE) else f"{PYTHON_VARIABLE} is not set",
}
SAMPLER_NAMES = [
    pytest.param(
        name, marks=pytest.mark.skipif(bool(ABSENT.get(name)), reason=str(ABSENT.get(name)))
    )
    for name in all_samplers()
]
#: The warm-up exists beside a schedule that decays, and half of the rest is forbidden.
CONDITIONAL: dict[str, Any] = {
    "learning_rate": {"type": "log_uniform", "min": 1e-5, "max": 1e-2},
    "lr_scheduler_type": {"type": "categorical", "values": ["linear", "constant"]},
    "warmup_ratio": {
        "type": "uniform",
        "min": 0.05,
        "max": 0.2,
        "when": "lr_scheduler_type != 'constant'",
    },
    "lora_rank": {"type": "log_int", "min": 2, "max": 64},
    "lora_alpha": {"type": "int", "min": 4, "max": 64, "step": 4},
}


def _search(folder: Path, **search: Any) -> tuple[Optimum, list[dict[str, Any]]]:
    folder.mkdir(exist_ok=True)
    study = write_tuning_study(folder, **{"confirm_top": 1, "trials": TRIALS, **search})
    optimum = search_unit(study, "toy", "lora", pool_factory=FakePool)
    unit = Unit(study, "toy", "lora")
    loaded = optuna.load_study(study_name=unit.study_name, storage=connect(unit.paths.storage))
    return optimum, [trial.params for trial in loaded.trials]


def test_registries_hold_every_name() -> None:
    assert set(all_samplers()) == set(MODEL_BASED)
    assert set(PRUNERS) == {"none", "median", "asha", "hyperband", "wilcoxon"}


@pytest.mark.parametrize("name", MODEL_BASED)
def test_a_row_is_taken_by_settings_and_told_of_in_the_paper(name: str) -> None:
    row = sampler_kind(name)
    assert SearchSettings(sampler=name).sampler == name
    assert row.words.format(start=4)
    assert collect_bibtex(row.works)
    if not row.searches_fronts:
        with pytest.raises(ValidationError, match=f"sampler {name} has one objective"):
            SearchSettings(sampler=name, objective="pareto:accuracy,train_seconds")


@pytest.mark.parametrize("name", PRUNERS)
def test_a_pruner_is_taken_by_settings_and_told_of_in_the_paper(name: str) -> None:
    assert SearchSettings(pruner=name).pruner == name
    assert collect_bibtex(PRUNERS[name].works)
    assert bool(PRUNERS[name].words) == (name != "none")


@pytest.mark.parametrize(("key", "near"), [("sampler", "tpe"), ("pruner", "asha")])
def test_an_unknown_name_is_refused_with_the_nearest(key: str, near: str) -> None:
    with pytest.raises(ValidationError, match=f"no {key} has that name; did you mean '{near}'"):
        SearchSettings(**{key: f"{near}x"})


@pytest.mark.filterwarnings("error::optuna.exceptions.ExperimentalWarning", "error::UserWarning")
@pytest.mark.parametrize("sampler", SAMPLER_NAMES)
def test_sampler_draws_distinct_trials_in_range_and_resumes_as_if_never_stopped(
    tmp_path: Path, sampler: SamplerName
) -> None:
    optimum, draws = _search(tmp_path / "whole", sampler=sampler)
    assert optimum.trial_states == {"finished": TRIALS}
    assert optimum.model_based_trials == MODEL_BASED[sampler]
    assert len({str(draw) for draw in draws}) == TRIALS
    for draw in draws:
        assert 1e-5 <= draw["learning_rate"] <= 1e-2
        assert draw["batch_size"] in (4, 8, 16)
        assert draw["epochs"] in (1, 2, 3, 4)
    for trials in (6, TRIALS):
        resumed = _search(tmp_path / "resumed", sampler=sampler, trials=trials)[1]
    if sampler in ("grid", "schedule", "nsga2"):  # these plan with the number of trials
        assert len({str(draw) for draw in resumed}) == TRIALS
    else:
        assert resumed == draws


@pytest.mark.parametrize("sampler", ["schedule", "gp", "cmaes", "tpe", "nsga2"])
def test_sampler_copes_with_a_default_outside_the_space(tmp_path: Path, sampler: Any) -> None:
    space = {
        "learning_rate": {"type": "log_uniform", "min": 1e-3, "max": 1e-1},  # published: 4e-4
        "lora_dropout": {"type": "uniform", "min": 0.1, "max": 0.4},  # 0
        "epochs": {"type": "int", "min": 1, "max": 2},  # 3
    }
    study = write_tuning_study(tmp_path, sampler="schedule", trials=4, space=space)
    optimum = search_unit(study, "toy", "lora", pool_factory=FakePool)
    assert optimum.trial_states == {"finished": 4}
    unit = Unit(study, "toy", "lora")
    loaded = optuna.load_study(study_name=unit.study_name, storage=connect(unit.paths.storage))
    published = {"learning_rate": 4e-4, "lora_dropout": 0.0, "epochs": 3}
    assert loaded.trials[0].params == published
    size = SamplerSize(8, 3)
    build = sampler_kind(sampler).build
    assert build is not None
    loaded.sampler = build(1, size)
    for _ in range(4):
        trial = loaded.ask({name: d for name, d in loaded.trials[1].distributions.items()})
        assert 1e-3 <= trial.params["learning_rate"] <= 1e-1
        assert trial.params["epochs"] in (1, 2)
        loaded.tell(trial, 0.5)


@pytest.mark.parametrize("sampler", ["schedule", "nsga2"])
def test_small_discrete_space_is_not_searched_twice(tmp_path: Path, sampler: Any) -> None:
    space = {
        "batch_size": {"type": "categorical", "values": [4, 8, 16, 32]},
        "epochs": {"type": "int", "min": 1, "max": 4},
        "learning_rate": {"type": "categorical", "values": [1e-4, 4e-4, 1e-3, 3e-3]},
    }
    _, draws = _search(tmp_path, sampler=sampler, space=space)
    assert len({str(draw) for draw in draws}) == TRIALS


def _conditional_space() -> Space:
    parsed = {k: TypeAdapter(Parameter).validate_python(v) for k, v in CONDITIONAL.items()}
    default = Hyperparameters(learning_rate=4e-4, batch_size=8, epochs=3, warmup_ratio=0.06)
    return Space(parsed, default, ("lora_alpha >= lora_rank",))


@pytest.mark.filterwarnings("error::optuna.exceptions.ExperimentalWarning", "error::UserWarning")
@pytest.mark.parametrize("sampler", SAMPLER_NAMES)
def test_sampler_keeps_conditions_and_constraints(sampler: SamplerName) -> None:
    space, seen = _conditional_space(), list[Hyperparameters]()

    def score(chosen: Hyperparameters, _: int) -> float | None:
        seen.append(chosen)
        if chosen.learning_rate > 5e-3:  # diverges
            return None
        return -abs(math.log10(chosen.learning_rate) + 3) - chosen.warmup_ratio

    search = run_search(space, score, sampler=sampler, trials=TRIALS, seed=0, stream=3)
    assert len(search.values) == TRIALS
    assert len({str(each) for each in seen}) == TRIALS
    for chosen in seen:
        assert chosen.lora_alpha >= chosen.lora_rank
        if chosen.lr_scheduler_type == "constant":
            assert chosen.warmup_ratio == space.default.warmup_ratio
    assert {each.lr_scheduler_type == "constant" for each in seen} == {True, False}


@pytest.mark.parametrize("sampler", SAMPLER_NAMES)
@pytest.mark.parametrize("pruner", ["asha", "median"])
def test_samplers_learn_beside_pruned_trials(sampler: SamplerName, pruner: PrunerName) -> None:
    space, size = _conditional_space(), SamplerSize(TRIALS, len(CONDITIONAL))
    settings = SearchSettings(pruner=pruner)
    study = optuna.create_study(direction="maximize", pruner=build_pruner(settings))
    trial_pruner = TrialPruner(study, settings, lambda metrics: metrics["accuracy"], print)
    for number in range(10):
        study.sampler = build_sampler(sampler, seed=number, size=size, space=space)
        trial = study.ask()
        drawn = suggest(trial, space)
        rate = float(drawn["learning_rate"])
        score, epochs = 0.9 - 0.1 * abs(math.log10(rate) + 3), 4
        for epoch in range(1, epochs + 1):
            metrics = {"accuracy": score * (0.5 + 0.5 * epoch / epochs)}
            evaluation = Evaluation(step=epoch, epoch=epoch, train_loss=None, metrics=metrics)
            if trial_pruner.decide(trial, evaluation, epochs) == "prune":
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                break
        else:
            study.tell(trial, score)
    states = [trial.state.name for trial in study.trials]
    assert set(states) == {"COMPLETE", "PRUNED"}


@pytest.mark.parametrize("pruner", PRUNERS)
def test_every_pruner_ends_every_trial(tmp_path: Path, pruner: PrunerName) -> None:
    optimum, _ = _search(tmp_path, sampler="random", pruner=pruner)
    assert sum(optimum.trial_states.values()) == TRIALS
    assert set(optimum.trial_states) <= {"finished", "pruned"}
    if pruner in ("none", "wilcoxon"):  # four evaluations at most: too few for the test
        assert optimum.trial_states == {"finished": TRIALS}
    else:
        assert optimum.trial_states["pruned"] >= 1
