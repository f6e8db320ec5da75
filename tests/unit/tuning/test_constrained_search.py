"""Searches of spaces with conditions and constraints, of fronts and under a limit of memory."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml

from fake_pool import FakePool, build_record, write_tuning_study
from phasewise.errors import ConfigError, PhasewiseError
from phasewise.records import RunCost, RunRecord, write_record
from phasewise.runs import RunConfig, build_seeds
from phasewise.samplers import SAMPLERS
from phasewise.settings import SamplerName, Study, load_study
from phasewise.summaries import Optimum, read_phase_summary, write_summary
from phasewise.tuning.search import search_unit
from phasewise.tuning.storage import connect
from phasewise.tuning.units import Unit

SPACE = {
    "lora_dropout": {"type": "uniform", "min": 0.0, "max": 0.3, "when": "lora_rank > 4"},
    "learning_rate": {"type": "log_uniform", "min": 1e-5, "max": 1e-2},
    "lora_rank": {"type": "categorical", "values": [2, 4, 8, 16]},
    "lora_alpha": {"type": "log_int", "min": 1, "max": 32},
    "epochs": {"type": "int", "min": 1, "max": 3},
}

#: Libraries beside Optuna: tests/conformance/test_samplers.py tries them where they are installed.


def write_study(folder: Path, constraints: list[str], **search: Any) -> Study:
    study = write_tuning_study(folder, **search)
    section = {"source": "test", "spaces": {"lora": SPACE}, "constraints": constraints}
    (folder / "space.yaml").write_text(yaml.safe_dump(section, sort_keys=False))
    return load_study(study.path)


def drawn(study: Study) -> list[dict[str, Any]]:
    unit = Unit(study, "toy", "lora")
    loaded = optuna.load_study(study_name=unit.study_name, storage=connect(unit.paths.storage))
    return [trial.params for trial in loaded.trials]


@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
def test_every_draw_meets_conditions_and_constraints(tmp_path: Path, sampler: SamplerName) -> None:
    study = write_study(
        tmp_path, ["lora_alpha >= 1.5 * r"], sampler=sampler, trials=12, confirm_top=1
    )
    optimum = search_unit(study, "toy", "lora", pool_factory=FakePool)
    assert optimum.trial_states == {"finished": 12}  # no draw was lost to a constraint
    draws = drawn(study)
    assert len({str(sorted(draw.items())) for draw in draws}) == 12
    for draw in draws:
        assert draw["lora_alpha"] >= 1.5 * draw["lora_rank"]
        assert ("lora_dropout" in draw) == (draw["lora_rank"] > 4)
    if sampler != "nsga2":  # its later generations stay near the best
        assert {draw["lora_rank"] for draw in draws} >= {2, 8}


def test_search_under_constraints_resumes_with_the_same_draws(tmp_path: Path) -> None:
    for name, steps in (("whole", [12]), ("resumed", [5, 12])):
        (tmp_path / name).mkdir()
        for trials in steps:
            study = write_study(
                tmp_path / name, ["alpha >= r"], sampler="tpe", trials=trials, confirm_top=1
            )
            search_unit(study, "toy", "lora", pool_factory=FakePool)
    assert drawn(load_study(tmp_path / "whole" / "study.yaml")) == drawn(study)


def test_a_default_that_a_constraint_forbids_is_not_trained(tmp_path: Path) -> None:
    study = write_study(tmp_path, ["alpha >= 2 * r"], trials=4, confirm_top=1)  # published: 8, 8
    search_unit(study, "toy", "lora", pool_factory=FakePool, log=tmp_path / "log")
    assert "(default)" not in (tmp_path / "log").read_text()


def test_constraints_that_nothing_meets_are_refused_before_training(tmp_path: Path) -> None:
    study = write_study(tmp_path, ["lora_alpha > 16 * lora_rank"])
    with pytest.raises(ConfigError, match="lora_alpha > 16 \\* lora_rank forbid nearly all draws"):
        search_unit(study, "toy", "lora", pool_factory=FakePool)


def costing(config: RunConfig) -> RunRecord:
    """A record whose memory grows with the batch and whose loss falls as accuracy rises."""
    record = build_record(config, "finished")
    accuracy = record.search_metrics["accuracy"]
    cost = RunCost(
        train_seconds=config.hyperparameters.batch_size,
        total_seconds=100,
        peak_memory_mb=1000 + 100 * config.hyperparameters.batch_size,
        train_tokens=1,
        trainable_parameters=1000,
        total_parameters=10_000,
        adapter_bytes=4000,
        micro_batch_size=config.hyperparameters.batch_size,
    )
    metrics = {"accuracy": accuracy, "eval_loss": 2 * (1 - accuracy)}
    return record.model_copy(update={"search_metrics": metrics, "cost": cost})


class CostingPool(FakePool):
    """Trains records with costs."""

    def wait(self, timeout: float | None = None) -> list[Any]:
        events = super().wait(timeout)
        for index, event in enumerate(events):
            if event.record is not None and event.record.status == "finished":
                record = costing(event.job.config)
                write_record(event.job.folder, record)
                events[index] = event._replace(record=record)
        return events


@pytest.fixture
def search_costs(tmp_path: Path) -> Callable[..., tuple[Optimum, list[RunRecord]]]:
    """Searches the toy unit with measured costs, Phase 0 too."""

    def run(**search: Any) -> tuple[Optimum, list[RunRecord]]:
        study = write_tuning_study(tmp_path, confirm_top=1, **search)
        unit = Unit(study, "toy", "lora")
        jobs = [
            unit.job("default", i, unit.default, build_seeds(0, "phase0", "toy", i))
            for i in range(2)
        ]
        for job in jobs:
            write_record(job.folder, costing(job.config))
        path = unit.paths.summary("phase0")
        summary = read_phase_summary(path)
        assert summary is not None
        runs = tuple(f"phase0/{job.config.name}" for job in jobs)
        write_summary(path, summary.model_copy(update={"runs": runs}))
        pool = CostingPool()
        optimum = search_unit(study, "toy", "lora", pool_factory=lambda: pool)
        return optimum, [costing(job.config) for job in jobs]

    return run


def test_weighted_sum_is_of_gains_on_the_default(search_costs: Any) -> None:
    optimum, defaults = search_costs(
        trials=12, objective="multi:eval_loss,accuracy", objective_weights=[3, 1]
    )
    assert (optimum.metric, optimum.direction) == ("multi:eval_loss,accuracy", "maximize")
    mean = sum(record.search_metrics["accuracy"] for record in defaults) / 2
    assert optimum.baseline_value == pytest.approx(0, abs=1e-9)
    # By hand: accuracy a gives a loss of 2 (1 - a), so both gains follow from a alone.
    losses = 2 * (1 - mean)

    def gain(accuracy: float) -> float:
        return 0.75 * (losses - 2 * (1 - accuracy)) / losses + 0.25 * (accuracy - mean) / mean

    front = optimum.best_value
    accuracy = (front + 0.75 * (2 - losses) / losses + 0.25) / (1.5 / losses + 0.25 / mean)
    assert gain(accuracy) == pytest.approx(front)
    assert 0.5 < accuracy < 1
    assert front > 0


def test_front_holds_what_nothing_beats_and_the_optimum_is_its_first(search_costs: Any) -> None:
    optimum, _ = search_costs(trials=12, objective="pareto:accuracy,memory_gb")
    front = optimum.pareto_front
    assert (optimum.metric, optimum.direction) == ("accuracy", "maximize")
    assert front[0].trial == optimum.best_trial
    assert optimum.best_value == pytest.approx(front[0].values["accuracy"])
    pairs = [(p.values["accuracy"], -p.values["memory_gb"]) for p in front]
    assert pairs == sorted(pairs, reverse=True)
    assert all(a[0] > b[0] and a[1] < b[1] for a, b in itertools.pairwise(pairs))
    assert optimum.trial_states == {"finished": 12}


def test_trials_above_the_memory_limit_are_avoided_and_cannot_win(search_costs: Any) -> None:
    optimum, _ = search_costs(trials=12, memory_constraint_gb=2.0, pruner="none")
    # 1 GB and 0.1 GB per row: a batch of 16 (the default's and the space's largest) is too much.
    assert optimum.best_hyperparameters["batch_size"] in (4, 8)


def test_no_trial_within_the_limit_says_so(search_costs: Any) -> None:
    with pytest.raises(PhasewiseError, match=r"memory_constraint_gb|forbid nearly all draws"):
        search_costs(trials=3, memory_constraint_gb=0.5)
