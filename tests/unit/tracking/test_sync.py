"""``phasewise sync``: whatever was not sent, or only in part, is brought, once, and asked for."""

import fcntl
import json
from collections.abc import Callable, Iterator

import pytest

from phasewise.live import LiveLog
from phasewise.records import RunRecord
from phasewise.settings import Study
from phasewise.tracking import TrackingProcess, read_marker, run_id
from phasewise.tracking.marker import MirrorMarker, write_marker
from phasewise.tracking.sync import SyncResult, sync_study
from phasewise.tracking.wandb_run import restart_service
from synthetic import UnitWriter, make_config, make_record
from wandb_server import ServedRun, WandbServer

TASK = "rotten_tomatoes"


@pytest.fixture(autouse=True)
def _forget(server: WandbServer) -> Iterator[None]:
    """wandb keeps the server's address for as long as its process lives."""
    yield
    restart_service()


def _sync(study: Study, *, again: bool = False) -> tuple[SyncResult, list[str]]:
    said: list[str] = []
    return sync_study(study, again=again, say=said.append), said


def _id(record: RunRecord) -> str:
    return run_id(record.config, record.hash)


def _requests(server: WandbServer) -> int:
    return len([body for body in server.bodies if b"/otel/" not in body[:40]])


def test_runs_that_were_never_mirrored_are_brought_once(
    unit: UnitWriter, server: WandbServer
) -> None:
    records = [unit.run("trial-000", 0.8), unit.run("trial-001", 0.6, status="pruned")]
    result, said = _sync(unit.study)
    assert result == SyncResult(verified=2, running=0, problems=())
    assert [line.split(":")[0] for line in said] == [r.config.label for r in records]
    for record in records:
        run = server.runs[_id(record)]
        assert (run.state, run.summary["status"]) == ("finished", record.status)
        assert len(run.rows) == len(record.train_points)
        assert run.history[-1]["_timestamp"] == pytest.approx(1767261613)  # when it ended
    before = _requests(server)
    assert _sync(unit.study) == (result, [])
    assert _requests(server) == before  # verified runs are not asked for
    assert _sync(unit.study, again=True) == (result, [])
    assert _requests(server) > before
    assert len(server.runs) == 2


def test_a_copy_on_disk_is_sent_as_it_was_logged(
    unit: UnitWriter, server: WandbServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    record = unit.run("trial-000", 0.8)
    with TrackingProcess(unit.study) as tracking:
        tracking.end(record, unit.paths.run("phase1", "trial-000"))
        assert tracking.close(30)
    assert not server.runs
    monkeypatch.delenv("WANDB_MODE")
    result, said = _sync(unit.study)
    assert result == SyncResult(verified=1, running=0, problems=())
    assert said == [f"{record.config.label}: sending (not on the server)"]
    marker = read_marker(unit.paths.run("phase1", "trial-000"))
    assert marker is not None
    assert (marker.mode, marker.verified) == ("online", True)


def test_a_run_that_was_sent_in_part_is_completed(unit: UnitWriter, server: WandbServer) -> None:
    record = unit.run("trial-000", 0.8)
    rows = [{"_step": step, "train/loss": 0.5} for step in range(1, 11)]
    server.runs[_id(record)] = ServedRun(
        "NLP-Phase1-Optuna",
        fields={"config": "{}", "displayName": "its name"},
        rows={place: json.dumps(row) for place, row in enumerate(rows)},
        summary={"_step": 10},
    )
    assert _sync(unit.study)[0] == SyncResult(verified=1, running=0, problems=())
    run = server.runs[_id(record)]
    assert [row["_step"] for row in run.history] == list(range(1, 31))
    assert (run.state, run.summary["objective"]) == ("finished", 0.8)


def test_runs_of_other_settings_are_tagged(
    unit: UnitWriter, server: WandbServer, write_study: Callable[..., Study]
) -> None:
    old = unit.run("trial-000", 0.8)
    assert _sync(unit.study)[0].verified == 1
    changed = write_study(tracking={"wandb": True}, training={"max_grad_norm": 0.5})
    new = UnitWriter(changed, TASK, "lora").run("trial-001", 0.7)
    assert _sync(changed)[0] == SyncResult(verified=2, running=0, problems=())
    assert "superseded" in server.runs[_id(old)].fields["tags"]
    assert "superseded" not in server.runs[_id(new)].fields["tags"]
    assert len(server.runs[_id(old)].rows) == 30


def test_a_run_cut_off_is_closed_unless_it_is_under_way(
    unit: UnitWriter, server: WandbServer
) -> None:
    config = make_config(unit.study, TASK, "lora", "trial-000")
    folder = unit.paths.run("phase1", "trial-000")
    log = LiveLog(folder, config, 30)
    log.note("train", make_record(config, 0.8).train_points[0])
    marker = MirrorMarker(
        id="cut0off", hash=config.hash, project="NLP-Phase1-Optuna", mode="online", state="running"
    )
    write_marker(folder, marker)
    server.runs["cut0off"] = ServedRun("NLP-Phase1-Optuna", fields={"config": "{}"})
    unit.paths.lock.write_text("")
    with unit.paths.lock.open() as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        assert _sync(unit.study)[0] == SyncResult(verified=0, running=1, problems=())
    assert server.runs["cut0off"].state == "running"
    assert _sync(unit.study)[0] == SyncResult(verified=1, running=0, problems=())
    assert server.runs["cut0off"].state == "failed"
    assert server.runs["cut0off"].summary["status"] == "killed"


def test_what_the_server_does_not_take_is_told(unit: UnitWriter, server: WandbServer) -> None:
    unit.run("trial-000", 0.8)
    server.fault = "refuse"
    result, _ = _sync(unit.study)
    assert result.verified == 0
    assert len(result.problems) == 1
    assert "trial-000" in result.problems[0]
    assert read_marker(unit.paths.run("phase1", "trial-000")) is None
    server.fault = "none"
    assert _sync(unit.study)[0] == SyncResult(verified=1, running=0, problems=())


def test_a_server_that_forgets_what_it_takes_is_noticed(
    unit: UnitWriter, server: WandbServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    unit.run("trial-000", 0.8)
    monkeypatch.setattr(ServedRun, "take", lambda run, stream: setattr(run, "exit_code", 0))
    monkeypatch.setattr("phasewise.tracking.sync._ASKED_AFTER", (0.0,))
    result, _ = _sync(unit.study)
    assert result.verified == 0
    assert "rows end at step -1 of 30" in result.problems[0]
