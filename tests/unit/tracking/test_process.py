"""The side process for real: offline runs are written by wandb and read back from its files."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from phasewise.records import RunRecord
from phasewise.settings import Study
from phasewise.tracking import TrackingProcess, process, read_marker, run_id
from synthetic import UnitWriter

TASK = "rotten_tomatoes"
#: Far more than a call takes, far less than any network or start-up wait.
AT_ONCE = 1.0


def _folder(unit: UnitWriter, record: RunRecord) -> Path:
    return unit.paths.run(record.config.phase, record.config.name)


def _submit(tracking: TrackingProcess, unit: UnitWriter, record: RunRecord) -> float:
    start = time.monotonic()
    tracking.end(record, _folder(unit, record))
    return time.monotonic() - start


def _id(record: RunRecord) -> str:
    return run_id(record.config, record.hash)


def _offline_runs(unit: UnitWriter) -> list[Path]:
    return sorted((unit.study.settings.experiments_path / "wandb").glob("offline-run-*/*.wandb"))


def _inspect(file: Path) -> list[dict[str, Any]]:
    command = [Path(sys.executable).parent / "wandb", "leet", "inspect", "--json", file]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_every_run_becomes_one_offline_run_that_can_be_read_back(unit: UnitWriter) -> None:
    trial = unit.run("trial-000", 0.8)
    pruned = unit.run("trial-001", 0.5, status="pruned")
    seed = unit.run("seed-00", 0.8, report_score=0.79)
    with TrackingProcess(unit.study) as tracking:
        waits = [_submit(tracking, unit, record) for record in (trial, pruned, seed, trial)]
        assert max(waits) < AT_ONCE
        assert tracking.close(60)
    files = {file.stem.removeprefix("run-"): file for file in _offline_runs(unit)}
    assert set(files) == {_id(trial), _id(pruned), _id(seed)}
    marker = read_marker(_folder(unit, seed))
    assert marker is not None
    assert (marker.id, marker.hash, marker.mode) == (_id(seed), seed.hash, "offline")
    assert marker.project == "NLP-Phase2-Validation"
    written = json.dumps(_inspect(files[_id(trial)]))
    for expected in ("NLP-Phase1-Optuna", f"{TASK}/lora trial-000", "phase1", "search/accuracy"):
        assert expected in written, expected
    assert "cost/peak_memory_mb" in written
    history = [row for row in _inspect(files[_id(trial)]) if row.get("type") == "history"]
    assert len(history) == 30


def test_a_resumed_study_doubles_nothing(unit: UnitWriter) -> None:
    first = unit.run("trial-000", 0.8)
    with TrackingProcess(unit.study) as tracking:
        _submit(tracking, unit, first)
    with TrackingProcess(unit.study) as tracking:
        _submit(tracking, unit, first)
        assert tracking.pid is None  # nothing to do: nothing started
        _submit(tracking, unit, unit.run("trial-001", 0.7))
        _submit(tracking, unit, first)
    assert len(_offline_runs(unit)) == 2


def test_death_of_the_side_process_costs_one_line(
    unit: UnitWriter, caplog: pytest.LogCaptureFixture
) -> None:
    records = [unit.run(f"trial-{number:03d}", 0.8) for number in range(4)]
    with TrackingProcess(unit.study) as tracking:
        _submit(tracking, unit, records[0])
        assert tracking.pid is not None
        os.kill(tracking.pid, signal.SIGKILL)
        os.waitid(os.P_PID, tracking.pid, os.WEXITED | os.WNOWAIT)
        with caplog.at_level(logging.WARNING):
            assert max(_submit(tracking, unit, record) for record in records[1:]) < AT_ONCE
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "training goes on" in caplog.text


def test_an_unreachable_server_neither_blocks_nor_loses_a_run(
    unit: UnitWriter, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # the discard port, closed
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_INIT_TIMEOUT", "4")
    records = [unit.run(f"trial-{number:03d}", 0.8) for number in range(2)]
    tracking = TrackingProcess(unit.study)
    assert max(_submit(tracking, unit, record) for record in records) < AT_ONCE
    assert tracking.close(60)
    assert capfd.readouterr().err.count("logging offline") == 1
    markers = [read_marker(_folder(unit, record)) for record in records]
    assert [marker.mode for marker in markers if marker] == ["offline", "offline"]
    folders = unit.study.settings.experiments_path.rglob("*")
    assert not any("0" * 40 in f.read_text("utf-8", "replace") for f in folders if f.is_file())


def test_close_waits_for_no_side_process_that_hangs(
    unit: UnitWriter, caplog: pytest.LogCaptureFixture
) -> None:
    tracking = TrackingProcess(unit.study)
    _submit(tracking, unit, unit.run("trial-000", 0.8))
    pid = tracking.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        start = time.monotonic()
        assert not tracking.close(0.5)
        assert time.monotonic() - start < 3
        assert "`phasewise sync` brings what is missing" in caplog.text
    finally:
        os.kill(pid, signal.SIGKILL)


def test_a_side_process_that_hangs_ends_itself(
    unit: UnitWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = (
        "import sys, time, phasewise.tracking.side_process as side\n"
        "side.LAST_SECONDS = 1\n"
        "side.LiveMirror.close = lambda mirror: time.sleep(60)\n"
        "side.main([sys.argv[1]])\n"
    )
    plan = process.build_plan(unit.study).model_dump_json()
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", program, plan], input=b"", timeout=60)
    assert done.returncode == -signal.SIGALRM
    assert time.monotonic() - start < 30


def test_a_full_pipe_gives_up_instead_of_waiting(
    unit: UnitWriter, caplog: pytest.LogCaptureFixture
) -> None:
    record = unit.run("trial-000", 0.8)
    tracking = TrackingProcess(unit.study)
    _submit(tracking, unit, record)
    assert tracking.pid is not None
    os.kill(tracking.pid, signal.SIGSTOP)
    waits = [_submit(tracking, unit, record) for _ in range(2000)]
    assert max(waits) < 6
    assert caplog.text.count("not keeping up") == 1


def test_off_by_settings_is_silent(
    write_study: Callable[..., Study], caplog: pytest.LogCaptureFixture
) -> None:
    unit = UnitWriter(write_study(), TASK, "lora")
    with TrackingProcess(unit.study) as tracking:
        _submit(tracking, unit, unit.run("trial-000", 0.8))
        assert tracking.pid is None
    assert not caplog.records
    assert not (unit.study.settings.experiments_path / "wandb").exists()


def test_without_the_package_there_is_one_line(
    unit: UnitWriter, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(process, "find_spec", lambda name: None)
    with TrackingProcess(unit.study) as tracking:
        for number in range(3):
            _submit(tracking, unit, unit.run(f"trial-{number:03d}", 0.8))
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "not installed" in caplog.text
