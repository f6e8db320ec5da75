import fcntl
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import CliRunner

from phasewise.cli.app import app
from phasewise.errors import RecordError
from phasewise.records import read_record
from phasewise.report import build_report, collect_status
from phasewise.report.evidence import gather_evidence
from phasewise.settings import Study
from synthetic import UnitWriter

TASK = "rotten_tomatoes"
Writer = Callable[..., Study]


def test_a_unit_that_never_ran_is_waiting(write_study: Writer) -> None:
    (status,) = collect_status(write_study(), [(TASK, "lora")])
    assert (status.unit, status.phase, status.done) == (f"{TASK}/lora", "waiting", 0)
    # 2 defaults, 4 trials, 3 confirmed twice each, 2 seeds
    assert status.total == 2 + 4 + 3 * 2 + 2
    assert (status.best, status.running, status.seconds_left) == (None, False, None)


def test_phases_follow_each_other(write_study: Writer) -> None:
    study = write_study()
    unit = UnitWriter(study, TASK, "lora")

    def status() -> object:
        return collect_status(study, [(TASK, "lora")])[0]

    unit.run("default-0", 0.6)
    assert status().phase == "phase0"  # type: ignore[attr-defined]
    unit.phase0([0.6, 0.6], [0.6, 0.6])
    unit.phase1([0.7, 0.71], final=False)
    searching = status()
    assert searching.phase == "phase1"  # type: ignore[attr-defined]
    assert searching.best == 0.71  # type: ignore[attr-defined]
    # 2 trials, 6 confirmations and 2 seeds are left; each run cost 12.5 s
    assert searching.seconds_left == 10 * 12.5  # type: ignore[attr-defined]
    unit.phase1([0.7, 0.71, 0.72, 0.73], confirm=[0.72, 0.73])
    assert status().phase == "phase2"  # type: ignore[attr-defined]
    unit.phase2([0.7, 0.7])
    done = status()
    assert (done.phase, done.seconds_left) == ("done", 0.0)  # type: ignore[attr-defined]
    assert done.done == done.total == 2 + 4 + 2 + 2  # type: ignore[attr-defined]


def test_running_is_what_the_lock_says(write_study: Writer) -> None:
    study = write_study()
    lock = UnitWriter(study, TASK, "lora").paths.lock
    lock.parent.mkdir(parents=True)
    with lock.open("w") as stream:
        assert not collect_status(study, [(TASK, "lora")])[0].running
        fcntl.flock(stream, fcntl.LOCK_EX)
        assert collect_status(study, [(TASK, "lora")])[0].running
    assert not collect_status(study, [(TASK, "lora")])[0].running


def test_broken_files_do_not_stop_the_status(write_study: Writer) -> None:
    study = write_study()
    unit = UnitWriter(study, TASK, "lora")
    unit.run("trial-000", 0.6)
    unit.run("trial-001", 0.6)
    unit.paths.run("phase1", "trial-001").joinpath("record.json").write_text("{", "utf-8")
    unit.paths.running_optimum.write_text("best: [", "utf-8")
    (status,) = collect_status(study, [(TASK, "lora")])
    assert (status.trials_done, len(status.unreadable), status.best) == (1, 1, None)
    assert status.seconds_left is not None


def test_runs_of_other_settings_are_counted_apart(write_study: Writer) -> None:
    writer = UnitWriter(write_study(), TASK, "lora")
    for index in range(3):
        writer.run(f"trial-00{index}", 0.6)
    edited = write_study(training={"max_grad_norm": 0.5})
    UnitWriter(edited, TASK, "lora").run("trial-003", 0.6)
    (status,) = collect_status(edited, [(TASK, "lora")])
    assert (status.trials_done, status.others) == (1, 3)


def test_files_of_other_settings_end_no_phase(write_study: Writer) -> None:
    writer = UnitWriter(write_study(), TASK, "lora")
    writer.phase0([0.6, 0.6], [0.6, 0.6])
    writer.phase1([0.6, 0.7], confirm=[0.7, 0.7])
    writer.phase2([0.7, 0.7])
    assert collect_status(write_study(), [(TASK, "lora")])[0].phase == "done"
    edited = write_study(training={"max_grad_norm": 0.5})
    (status,) = collect_status(edited, [(TASK, "lora")])
    assert (status.phase, status.best, status.others) == ("waiting", None, 8)


def test_an_edited_record_is_named_and_counts_for_nothing(write_study: Writer) -> None:
    study = write_study()
    writer = UnitWriter(study, TASK, "lora")
    writer.phase2([0.6, 0.7])
    path = writer.paths.run("phase2", "seed-01") / "record.json"
    path.write_text(path.read_text("utf-8").replace("0.7", "0.99"), "utf-8")
    (status,) = collect_status(study, [(TASK, "lora")])
    assert status.seeds_done == 1
    (text,) = status.unreadable
    assert text.startswith(f"{path}: its content does not give its digest")
    done = CliRunner().invoke(app, ["status", "--study", str(study.path)])
    assert text in done.output
    report = (build_report(study, [(TASK, "lora")]).parent / "RESULTS.md").read_text("utf-8")
    assert text in report
    assert "0.99" not in report.replace("0.995", "")


def test_a_record_without_a_digest_is_named(write_study: Writer) -> None:
    study = write_study()
    writer = UnitWriter(study, TASK, "lora")
    record = writer.run("trial-000", 0.6)
    path = writer.paths.run("phase1", "trial-000") / "record.json"
    path.write_text(record.model_dump_json(), "utf-8")
    with pytest.raises(RecordError, match="its content does not give its digest"):
        read_record(path.parent)
    (status,) = collect_status(study, [(TASK, "lora")])
    assert (status.trials_done, len(status.unreadable)) == (0, 1)


@pytest.mark.parametrize(
    ("edit", "defaults", "trials", "seeds"),
    [
        ({}, 3, 4, 3),
        ({"validation": {"seeds": 2}}, 3, 4, 2),  # a smaller budget: the third is not needed
        ({"baselines": {"seeds": 2}}, 2, 4, 3),
        ({"search": {"trials": 3, "space": "demo"}}, 3, 3, 3),
        ({"search": {"trials": 4, "space": "demo", "sampler": "random"}}, 3, 0, 3),  # other draws
        ({"search": {"trials": 4, "space": "demo", "fixed": {"epochs": 2}}}, 0, 0, 0),
    ],
)
def test_done_never_counts_what_the_study_no_longer_asks_for(
    write_study: Writer, edit: dict[str, Any], defaults: int, trials: int, seeds: int
) -> None:
    whole = {"baselines": {"seeds": 3}, "validation": {"seeds": 3}}
    writer = UnitWriter(write_study(**whole), TASK, "lora")
    writer.phase0([0.6] * 3, [0.6] * 3)
    writer.phase1([0.6, 0.7, 0.65, 0.6], confirm=[0.7] * 2)
    writer.phase2([0.7] * 3)
    (status,) = collect_status(write_study(**{**whole, **edit}), [(TASK, "lora")])
    assert (status.defaults_done, status.trials_done, status.seeds_done) == (
        defaults,
        trials,
        seeds,
    )
    assert status.done <= status.total


def test_seeds_of_another_optimum_count_for_nothing(write_study: Writer) -> None:
    study = write_study()
    writer = UnitWriter(study, TASK, "lora")
    writer.phase1([0.6, 0.7])
    writer.phase2([0.7, 0.7])
    assert collect_status(study, [(TASK, "lora")])[0].seeds_done == 2
    writer.phase1([0.8, 0.7])
    (status,) = collect_status(study, [(TASK, "lora")])
    assert (status.seeds_done, status.others) == (0, 2)
    (task,) = gather_evidence(study, [(TASK, "lora")])
    assert task.units[0].seed_runs() == {}


def test_failed_runs_are_counted_apart(write_study: Writer) -> None:
    study = write_study()
    writer = UnitWriter(study, TASK, "lora")
    writer.run("trial-000", 0.6)
    writer.run("trial-001", None, status="failed", message="worker died")
    assert collect_status(study, [(TASK, "lora")])[0].failed == 1
    done = CliRunner().invoke(app, ["status", "--study", str(study.path)])
    assert "(1 failed)" in done.output
