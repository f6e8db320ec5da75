from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from phasewise.records import RunRecord
from phasewise.settings import Study
from phasewise.tracking import run_id
from phasewise.tracking.contents import (
    ObjectiveView,
    describe_config,
    describe_end,
    describe_summary,
    job_type,
    list_steps,
    list_tags,
    spread_times,
)
from synthetic import UnitWriter, make_config, make_record

TASK = "rotten_tomatoes"


@pytest.fixture
def record(write_study: Callable[..., Study]) -> RunRecord:
    config = make_config(write_study(), TASK, "lora", "trial-003", learning_rate=0.002)
    return make_record(config, 0.8)


@pytest.fixture
def objective(
    record: RunRecord, tmp_path: Path, write_study: Callable[..., Study]
) -> ObjectiveView:
    return ObjectiveView(write_study().settings.search, tmp_path, "accuracy")


def test_id_is_stable_and_tells_runs_apart(record: RunRecord) -> None:
    config = record.config
    again = RunRecord.model_validate_json(record.model_dump_json())
    first = run_id(config, record.hash)
    assert first == run_id(again.config, again.hash)
    other = config.unit_config.model_copy(update={"study": "other"})
    ids = {
        run_id(config.model_copy(update={"index": 4}), record.hash),
        run_id(config.model_copy(update={"unit_config": other}), record.hash),
        run_id(config.model_copy(update={"role": "seed"}), record.hash),
        run_id(config, "0" * 16),
        run_id(config, record.hash, 2),
    }
    assert len(ids | {first}) == 6


def test_steps_rise_and_hold_loss_scores_and_objective(
    record: RunRecord, objective: ObjectiveView
) -> None:
    steps = list_steps(record.train_points, record.evaluations, objective)
    assert [step for step, _ in steps] == list(range(1, 31))
    row = dict(steps)[10]  # the first of three evaluations
    assert row["search/accuracy"] == row["objective"] == pytest.approx(0.64)
    assert row["epoch"] == 1
    assert row["train/loss"] == pytest.approx(0.7165, abs=1e-4)


def test_config_summary_and_tags(record: RunRecord, objective: ObjectiveView) -> None:
    config = describe_config(record.config, record.hash, objective)
    assert (config["learning_rate"], config["method"]) == (0.002, "lora")
    assert (config["phase"], config["role"], config["trial_number"]) == ("phase1", "trial", 3)
    assert (config["objective_name"], config["objective_direction"]) == ("accuracy", "maximize")
    assert config["seeds"] == record.config.seeds.model_dump()
    assert "data_dir" not in str(config | describe_end(record))  # no path of this machine
    summary = describe_summary(record, objective)
    assert (summary["status"], summary["final/search/accuracy"]) == ("finished", 0.8)
    assert summary["objective"] == 0.8
    assert summary["cost/peak_memory_mb"] == 512.0
    tags = ["small", TASK, "lora", "phase1", "trial", "finished"]
    assert list_tags(record.config, "finished") == sorted(tags)


def test_confirmations_can_be_told_from_trials(write_study: Callable[..., Study]) -> None:
    study = write_study()
    configs = [make_config(study, TASK, "lora", name) for name in ("trial-003", "confirm-003-1")]
    assert [job_type(config) for config in configs] == ["phase1", "confirm"]
    assert ["confirm" in list_tags(config) for config in configs] == [False, True]


def test_a_weighted_objective_is_of_gains_on_phase_0(write_study: Callable[..., Study]) -> None:
    weighted = {"space": "demo", "objective": "multi:accuracy,train_seconds"}
    study = write_study(search={**weighted, "objective_weights": [1, 3]})
    unit = UnitWriter(study, TASK, "lora")
    trial = unit.run("trial-000", 0.8)
    view = ObjectiveView(study.settings.search, unit.paths.root, "accuracy")
    assert "objective" not in describe_summary(trial, view)  # before Phase 0 has a mean
    unit.phase0([0.4, 0.4], [0.4, 0.4])
    view = ObjectiveView(study.settings.search, unit.paths.root, "accuracy")
    summary = describe_summary(trial, view)
    assert summary["objective"] == pytest.approx(0.25 * (0.8 - 0.4) / 0.4)  # as fast as the default
    assert view.during({"accuracy": 0.8}) is None  # a cost is known at the end only
    assert (view.name, view.direction) == ("multi:accuracy,train_seconds", "maximize")


def test_rows_without_times_of_their_own_are_spread_over_the_run(record: RunRecord) -> None:
    time_of = spread_times(record)
    begin, end = (datetime.fromisoformat(t).timestamp() for t in (record.started, record.ended))
    assert (time_of(30), time_of(15)) == (end, pytest.approx((begin + end) / 2))
