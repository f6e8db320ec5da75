from collections.abc import Callable
from typing import Any

import pytest

from phasewise.runs import RunConfig, build_seeds, build_unit, phase_hash, task_hash
from phasewise.settings import Study

Writer = Callable[..., Study]
TASK = "rotten_tomatoes"


def _hashes(study: Study) -> dict[str, str]:
    return {
        phase: phase_hash(study, phase, TASK, "lora")  # type: ignore[arg-type]
        for phase in ("phase0", "phase1", "phase2")
    }


def test_phases_share_seeds_across_methods_but_not_with_each_other() -> None:
    phases = ["phase0", "phase1", "confirm", "phase2"]
    seeds = [build_seeds(0, phase, TASK, index) for phase in phases for index in range(20)]
    numbers = [n for s in seeds for n in (s.init, s.order, s.subset)]
    assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize(
    ("change", "stale"),
    [
        ({"description": "other words"}, set()),
        ({"name": "renamed"}, set()),
        ({"machine": {"device": "cpu", "threads": 2}}, set()),
        ({"resources": {"mem_mb": 9000}}, set()),
        ({"validation": {"seeds": 3}}, {"phase2"}),
        ({"search": {"trials": 5, "space": "demo"}}, {"phase1", "phase2"}),
        ({"baselines": {"seeds": 3}}, {"phase0", "phase1", "phase2"}),
        ({"seed": 1}, {"phase0", "phase1", "phase2"}),
    ],
)
def test_hash_changes_with_meaning_only(
    write_study: Writer, change: dict[str, Any], stale: set[str]
) -> None:
    before, after = _hashes(write_study()), _hashes(write_study(**change))
    assert {phase for phase in before if before[phase] != after[phase]} == stale


def test_a_key_of_one_task_leaves_other_tasks_alone(
    write_study: Writer, study_content: dict[str, Any]
) -> None:
    both = {**study_content["tasks"], "imdb": {"train_rows": 10, "search_rows": 20}}
    before = write_study(tasks=both)
    after = write_study(tasks={**both, "imdb": {"train_rows": 11, "search_rows": 20}})
    assert _hashes(before) == _hashes(after)
    assert task_hash(before, TASK) == task_hash(after, TASK)
    assert task_hash(before, "imdb") != task_hash(after, "imdb")


def test_run_hash_ignores_names_and_follows_hyperparameters(write_study: Writer) -> None:
    study = write_study()
    hyperparameters = study.default_hyperparameters(TASK, "lora")
    config = RunConfig(
        unit_config=build_unit(study, TASK, "lora"),
        role="trial",
        index=0,
        hyperparameters=hyperparameters,
        seeds=build_seeds(0, "phase1", TASK, 0),
        opens_report_set=False,
    )
    assert config.model_copy(update={"index": 1, "role": "confirm"}).hash == config.hash
    other = hyperparameters.model_copy(update={"learning_rate": 0.5})
    assert config.model_copy(update={"hyperparameters": other}).hash != config.hash
