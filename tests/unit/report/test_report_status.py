import fcntl
from collections.abc import Callable

from phasewise.report import collect_status
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
    assert (status.trials_done, status.unreadable, status.best) == (1, 1, None)
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
