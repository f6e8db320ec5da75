"""Runs on a server while they train; the server may be slow, refuse, drop or hang."""

import os
import signal
import time
from collections.abc import Callable

import pytest

from phasewise.live import LiveLog
from phasewise.records import RunRecord, write_record
from phasewise.tracking import TrackingProcess, read_marker, run_id
from synthetic import UnitWriter, make_config, make_record
from wandb_server import Fault, ServedRun, WandbServer

TASK = "rotten_tomatoes"
#: Far more than a call takes, far less than any network wait.
AT_ONCE = 0.5
PATIENCE = 30.0


class _Training:
    """A run whose worker is this test."""

    def __init__(self, unit: UnitWriter, name: str, tracking: TrackingProcess) -> None:
        config = make_config(unit.study, TASK, "lora", name, learning_rate=2e-3)
        self.record, self.tracking = make_record(config, 0.8), tracking
        self.folder = unit.paths.run(config.phase, config.name)
        self.id = run_id(config, self.record.hash)
        self.waited = 0.0
        self._time(lambda: tracking.begin(self.folder))
        self._log = LiveLog(self.folder, config, 30)

    def train(self, steps: range) -> "_Training":
        for point in self.record.train_points:
            if point.step in steps:
                self._log.note("train", point)
        for evaluation in self.record.evaluations:
            if evaluation.step in steps:
                self._log.note("evaluation", evaluation)
        return self

    def end(self) -> RunRecord:
        write_record(self.folder, self.record)
        self._time(lambda: self.tracking.end(self.record, self.folder))
        return self.record

    def _time(self, call: Callable[[], None]) -> None:
        start = time.monotonic()
        call()
        self.waited = max(self.waited, time.monotonic() - start)


def _wait_for(is_so: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < deadline, f"not within {PATIENCE} s: {what}"
        time.sleep(0.1)


def _rows(server: WandbServer, training: _Training) -> int:
    return len(server.runs.get(training.id, ServedRun("")).rows)


def test_a_run_is_on_the_server_while_it_trains(unit: UnitWriter, server: WandbServer) -> None:
    with TrackingProcess(unit.study) as tracking:
        trial = _Training(unit, "trial-003", tracking)
        _wait_for(lambda: trial.id in server.runs, "the run starts")
        trial.train(range(1, 16))
        _wait_for(lambda: _rows(server, trial) >= 14, "its first rows")
        run = server.runs[trial.id]
        assert run.state == "running"
        assert run.project == "NLP-Phase1-Optuna"
        assert (run.config["trial_number"], run.config["role"]) == (3, "trial")
        confirmation = _Training(unit, "confirm-003-0", tracking).train(range(1, 31))
        trial.train(range(16, 31)).end()
        confirmation.end()
        assert tracking.close(PATIENCE)
    assert [row["_step"] for row in run.history] == list(range(1, 31))
    assert run.history[9]["objective"] == run.history[9]["search/accuracy"] == pytest.approx(0.64)
    assert run.history[-1]["_runtime"] >= 1  # of the training, not of the upload
    assert (run.state, run.summary["objective"], run.summary["status"]) == (
        "finished",
        0.8,
        "finished",
    )
    assert {"trial", "phase1", "finished"} <= set(run.fields["tags"])
    confirmed = server.runs[confirmation.id]
    assert (run.fields["jobType"], confirmed.fields["jobType"]) == ("phase1", "confirm")
    assert "confirm" in confirmed.fields["tags"]
    marker = read_marker(trial.folder)
    assert marker is not None
    assert (marker.mode, marker.state, marker.verified) == ("online", "ended", False)


def test_a_record_brings_what_was_not_seen_live(unit: UnitWriter, server: WandbServer) -> None:
    with TrackingProcess(unit.study) as tracking:
        trial = _Training(unit, "trial-000", tracking)
        trial.end()
        assert tracking.close(PATIENCE)
    run = server.runs[trial.id]
    assert [row["_step"] for row in run.history] == list(range(1, 31))
    assert run.history[-1]["_timestamp"] < time.time() - 3600  # as the record says, long ago


def test_a_run_that_starts_anew_under_the_same_controller_goes_on(
    unit: UnitWriter, server: WandbServer
) -> None:
    with TrackingProcess(unit.study) as tracking:
        trial = _Training(unit, "trial-000", tracking).train(range(1, 21))
        _wait_for(lambda: _rows(server, trial) >= 19, "rows of the first attempt")
        LiveLog(trial.folder, trial.record.config, 30)  # its worker died; another starts it
        trial.train(range(1, 31)).end()
        assert tracking.close(PATIENCE)
    assert [row["_step"] for row in server.runs[trial.id].history] == list(range(1, 31))
    assert len(server.runs) == 1


def test_a_killed_controller_closes_its_runs_as_killed(
    unit: UnitWriter, server: WandbServer
) -> None:
    tracking = TrackingProcess(unit.study)
    trial = _Training(unit, "trial-000", tracking).train(range(1, 11))
    _wait_for(lambda: _rows(server, trial) >= 9, "its first rows")
    tracking.close(PATIENCE)  # to the side process this is the same: its input ends
    run = server.runs[trial.id]
    assert (run.state, run.summary["status"]) == ("failed", "killed")
    assert "killed" in run.fields["tags"]
    with TrackingProcess(unit.study) as tracking:  # resumed: another W&B run
        again = _Training(unit, "trial-000", tracking).train(range(1, 31))
        again.end()
        assert tracking.close(PATIENCE)
    second = server.runs[run_id(again.record.config, again.record.hash, 2)]
    assert (second.state, len(second.rows)) == ("finished", 30)
    assert run.summary["status"] == "killed"


def test_a_run_whose_side_process_was_killed_too_is_closed_on_resume(
    unit: UnitWriter, server: WandbServer
) -> None:
    tracking = TrackingProcess(unit.study)
    trial = _Training(unit, "trial-000", tracking).train(range(1, 11))
    _wait_for(lambda: _rows(server, trial) >= 9, "its first rows")
    assert tracking.pid is not None
    os.killpg(tracking.pid, signal.SIGKILL)  # as when the machine stops
    tracking.close(PATIENCE)
    run = server.runs[trial.id]
    assert run.state == "running"  # until W&B misses its heartbeat
    with TrackingProcess(unit.study) as tracking:
        again = _Training(unit, "trial-000", tracking).train(range(1, 31))
        again.end()
        assert tracking.close(PATIENCE)
    assert (run.state, run.summary["status"]) == ("failed", "killed")
    assert len(run.rows) >= 9
    assert server.runs[run_id(again.record.config, again.record.hash, 2)].state == "finished"


def test_a_failed_attempt_and_a_run_of_other_settings_are_tagged(
    unit: UnitWriter, server: WandbServer
) -> None:
    with TrackingProcess(unit.study) as tracking:
        failed = _Training(unit, "trial-000", tracking)
        failed.record = failed.record.model_copy(update={"status": "failed", "message": "OOM"})
        failed.end()
        old = _Training(unit, "trial-001", tracking)
        old.end()
        assert tracking.close(PATIENCE)
    (failed.folder / "record.json").rename(failed.folder / "record.failed-1.json")
    aside = old.folder.parent.with_name("phase1.old-0123")
    aside.mkdir()
    old.folder.rename(aside / "trial-001")
    with TrackingProcess(unit.study) as tracking:
        _Training(unit, "trial-000", tracking).end()
        assert tracking.close(PATIENCE)
    assert "superseded" in server.runs[failed.id].fields["tags"]
    assert server.runs[failed.id].state == "failed"
    assert "superseded" in server.runs[old.id].fields["tags"]
    assert server.runs[old.id].state == "finished"
    assert len(server.runs[old.id].rows) == 30
    assert len(server.runs) == 3


@pytest.mark.parametrize("fault", ["slow", "refuse", "drop", "hang"])
def test_no_fault_of_the_server_delays_or_loses_a_run(
    unit: UnitWriter, server: WandbServer, fault: Fault
) -> None:
    server.fault = fault
    tracking = TrackingProcess(unit.study)
    runs = [_Training(unit, f"trial-{number:03d}", tracking) for number in range(3)]
    for run in runs:
        run.train(range(1, 31))
    time.sleep(2)
    for run in runs:
        run.end()
    assert max(run.waited for run in runs) < AT_ONCE
    tracking.close(60)
    markers = [read_marker(run.folder) for run in runs]
    assert [marker.state for marker in markers if marker] == ["ended"] * 3
    modes = {marker.mode for marker in markers if marker}
    assert modes == ({"online"} if fault == "slow" else {"offline"})
    copies = list((unit.study.settings.experiments_path / "wandb").glob("*run-*/*.wandb"))
    assert len(copies) == 3


@pytest.mark.parametrize("fault", ["refuse", "drop", "hang"])
def test_a_server_that_fails_while_runs_train_loses_none(
    unit: UnitWriter, server: WandbServer, fault: Fault
) -> None:
    tracking = TrackingProcess(unit.study)
    runs = [_Training(unit, f"trial-{number:03d}", tracking) for number in range(2)]
    for run in runs:
        run.train(range(1, 16))
    _wait_for(lambda: all(_rows(server, run) >= 14 for run in runs), "the first rows")
    server.fault = fault
    for run in runs:
        run.train(range(16, 31)).end()
    assert max(run.waited for run in runs) < AT_ONCE
    tracking.close(100)
    markers = [read_marker(run.folder) for run in runs]
    assert [marker.state for marker in markers if marker] == ["ended"] * 2
    assert not any(marker.verified for marker in markers if marker)
