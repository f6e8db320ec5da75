import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from phasewise.errors import WorkerError
from phasewise.records import RunRecord, read_record
from phasewise.runs import RunConfig, build_seeds, build_unit
from phasewise.settings import MachineSettings, Study
from phasewise.training.interface import RunJob
from phasewise.training.pool import PoolEvent, WorkerPool

_ECHO = (sys.executable, str(Path(__file__).with_name("echo_worker.py")), "1")
_ECHO_OF_3 = (*_ECHO[:-1], "3")
_SECONDS = 30.0
Jobs = Callable[[str], RunJob]


@pytest.fixture
def job_of(write_study: Callable[..., Study], tmp_path: Path) -> Jobs:
    study = write_study()
    unit = build_unit(study, "rotten_tomatoes", "lora")

    def build(name: str) -> RunJob:
        config = RunConfig(
            unit_config=unit,
            role="pilot",
            index=0,
            variant=name,
            hyperparameters=study.default_hyperparameters("rotten_tomatoes", "lora"),
            seeds=build_seeds(0, "phase1", "rotten_tomatoes", 0),
            opens_report_set=False,
        )
        return RunJob(config, tmp_path / name, tmp_path / "ledger.jsonl")

    return build


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[WorkerPool]:
    with WorkerPool(MachineSettings(device="cpu"), tmp_path / "logs" / "log", _ECHO) as pool:
        yield pool


def _finish(pool: WorkerPool, count: int = 1) -> list[PoolEvent]:
    """Answers every evaluation until so many jobs have ended."""
    ended: list[PoolEvent] = []
    deadline = time.monotonic() + _SECONDS
    while len(ended) < count:
        assert time.monotonic() < deadline, "nothing happened"
        for event in pool.wait(_SECONDS):
            if event.progress is None:
                ended.append(event)
            else:
                pool.answer(event.job, "prune" if event.job.config.name == "bad" else "continue")
    return ended


def _record(event: PoolEvent) -> RunRecord:
    assert event.record is not None
    return event.record


def test_a_record_is_on_disk_before_it_is_told(pool: WorkerPool, job_of: Jobs) -> None:
    job = job_of("one")
    pool.submit(job)
    (event,) = _finish(pool)
    assert event.job == job
    assert read_record(job.folder) == event.record
    assert pool.wait(0) == pool.wait() == []


def test_one_worker_serves_all_runs_and_hears_the_answers(pool: WorkerPool, job_of: Jobs) -> None:
    for name in ("first", "bad", "last"):
        pool.submit(job_of(name))
    records = [_record(event) for event in _finish(pool, 3)]
    assert [record.status for record in records] == ["finished", "pruned", "finished"]
    assert len({record.environment["pid"] for record in records}) == 1


@pytest.mark.parametrize(
    ("name", "death"),
    [
        ("kill", "worker killed by SIGKILL, often the kernel out of memory"),
        ("exit", "worker ended with exit code 3: the last words; see "),
    ],
)
def test_a_death_is_told_and_a_fresh_worker_goes_on(
    pool: WorkerPool, job_of: Jobs, name: str, death: str
) -> None:
    pool.submit(job_of(name))
    pool.submit(job_of("after"))
    first, second = _finish(pool, 2)
    assert first.job.config.name == name
    assert (first.death or "").startswith(death)
    assert _record(second).status == "finished"


def test_kill_9_from_outside_costs_one_run(pool: WorkerPool, job_of: Jobs) -> None:
    pool.submit(job_of("one"))
    pid = int(_record(_finish(pool)[0]).environment["pid"])
    pool.submit(job_of("hang"))
    os.kill(pid, signal.SIGKILL)
    (event,) = _finish(pool)
    assert event.death is not None
    pool.submit(job_of("two"))
    assert _record(_finish(pool)[0]).status == "finished"


def test_a_worker_that_died_idle_costs_nothing(pool: WorkerPool, job_of: Jobs) -> None:
    pool.submit(job_of("one"))
    pid = int(_record(_finish(pool)[0]).environment["pid"])
    os.kill(pid, signal.SIGKILL)
    time.sleep(0.2)
    pool.submit(job_of("two"))
    assert _record(_finish(pool)[0]).environment["pid"] != str(pid)


def test_an_engine_that_raises_is_a_death_and_names_its_error(
    pool: WorkerPool, job_of: Jobs
) -> None:
    pool.submit(job_of("raise"))
    (event,) = _finish(pool)
    start = "worker ended with exit code 1: ValueError: a broken engine; see "
    assert (event.death or "").startswith(start)
    pool.submit(job_of("after"))
    assert _record(_finish(pool)[0]).status == "finished"


@pytest.fixture
def wide_pool(tmp_path: Path, job_of: Jobs) -> Iterator[WorkerPool]:
    """A pool whose one worker has told that it holds three runs."""
    machine = MachineSettings(device="cpu")
    with WorkerPool(machine, tmp_path / "log", _ECHO_OF_3) as pool:
        assert pool.size == 1
        pool.submit(job_of("zero"))
        _finish(pool)
        assert pool.size == 3
        yield pool


def test_a_worker_holds_as_many_runs_as_it_has_room_for(
    wide_pool: WorkerPool, job_of: Jobs
) -> None:
    for name in ("one", "bad", "three", "four"):
        wide_pool.submit(job_of(name))
    assert [len(worker.jobs) for worker in wide_pool._workers] == [3]
    records = {_record(e).config.name: _record(e) for e in _finish(wide_pool, 4)}
    assert {name: record.status for name, record in records.items()} == {
        "one": "finished",
        "bad": "pruned",
        "three": "finished",
        "four": "finished",
    }
    assert len({record.environment["pid"] for record in records.values()}) == 1


def test_of_offered_runs_those_are_started_that_there_is_room_for(
    wide_pool: WorkerPool, job_of: Jobs
) -> None:
    """The longest first; the rest is the caller's to offer again."""
    jobs = [job_of(name) for name in ("one", "two", "three", "long")]
    hyperparameters = jobs[3].config.hyperparameters.model_copy(update={"epochs": 9})
    config = jobs[3].config.model_copy(update={"hyperparameters": hyperparameters})
    jobs[3] = jobs[3]._replace(config=config)
    started = []
    while (job := wide_pool.offer(jobs)) is not None:
        jobs.remove(job)
        started.append(job.config.name)
    assert started == ["long", "one", "two"]
    _finish(wide_pool)
    assert wide_pool.offer(jobs) == jobs[0]
    assert len(_finish(wide_pool, 3)) == 3


def test_offered_runs_start_a_worker_each_before_they_share_one(
    job_of: Jobs, tmp_path: Path
) -> None:
    with WorkerPool(MachineSettings(device="cpu", workers=2), None, _ECHO_OF_3) as pool:
        jobs = [job_of(f"run-{number}") for number in range(4)]
        assert [pool.offer(jobs), pool.offer(jobs[1:]), pool.offer(jobs[2:])] == [*jobs[:2], None]
        pids = {_record(event).environment["pid"] for event in _finish(pool, 2)}
    assert len(pids) == 2


@pytest.mark.parametrize("ending", [WorkerPool.dismiss, WorkerPool.close])
def test_idle_workers_end_while_nobody_waits(
    pool: WorkerPool, job_of: Jobs, ending: Callable[[WorkerPool], None]
) -> None:
    pool.submit(job_of("one"))
    _finish(pool)
    process = pool._workers[0].process
    assert isinstance(process, subprocess.Popen)
    ending(pool)
    deadline = time.monotonic() + _SECONDS
    while process.poll() is None:
        assert time.monotonic() < deadline, "the worker lives on"
        time.sleep(0.01)
    assert process.returncode == 0
    with pytest.raises(WorkerError, match="closed"):
        pool.submit(job_of("two"))
    pool.close()


def test_a_closed_pool_takes_no_offer(pool: WorkerPool, job_of: Jobs) -> None:
    pool.close()
    with pytest.raises(WorkerError, match="closed"):
        pool.offer([job_of("late")])


def test_a_death_is_told_for_each_run_that_the_worker_held(
    wide_pool: WorkerPool, job_of: Jobs
) -> None:
    for name in ("hang", "one"):
        wide_pool.submit(job_of(name))
    wide_pool._workers[0].process.kill()
    events = _finish(wide_pool, 2)
    assert {event.job.config.name for event in events} == {"hang", "one"}
    assert all("SIGKILL" in (event.death or "") for event in events)
    assert wide_pool.size == 1
    wide_pool.submit(job_of("after"))
    assert _record(_finish(wide_pool)[0]).status == "finished"


def test_a_run_that_is_to_be_alone_shares_its_worker_with_none(
    wide_pool: WorkerPool, job_of: Jobs
) -> None:
    wide_pool.submit(job_of("first"))
    wide_pool.submit(job_of("alone"), alone=True)
    wide_pool.submit(job_of("last"))
    order = []
    for _ in range(3):
        order += [event.job.config.name for event in _finish(wide_pool)]
        assert all(len(worker.jobs) <= 1 for worker in wide_pool._workers)
    assert order == ["first", "alone", "last"]


@pytest.mark.parametrize(
    ("workers", "gpus", "used"),
    [
        (2, "0,1,2,3", ["0", "1"]),  # fewer trials at once than GPUs
        (3, "4,6,7", ["4", "6", "7"]),
        (3, "4,6", ["4", "4", "6"]),  # only then is one shared
        (None, "4,6", ["4", "6"]),
    ],
)
def test_workers_take_the_gpus_before_they_share_one(
    job_of: Jobs,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    workers: int | None,
    gpus: str,
    used: list[str],
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus)
    with WorkerPool(MachineSettings(workers=workers), tmp_path / "log", _ECHO) as pool:
        for number in range(4):  # one more than there are workers: it waits
            pool.submit(job_of(f"run-{number}"))
        started = [worker.gpu for worker in pool._workers]
    assert sorted(filter(None, started)) == used


def test_each_gpu_gets_a_worker(
    job_of: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    with WorkerPool(MachineSettings(), tmp_path / "log", _ECHO) as pool:
        assert pool.size == 2
        pool.submit(job_of("one"))
        pool.submit(job_of("two"))
        used = {_record(event).environment["gpu"] for event in _finish(pool, 2)}
        processes = [worker.process for worker in pool._workers]
    for process in processes:  # their memory is free for the next
        assert isinstance(process, subprocess.Popen)
        assert process.returncode == 0
    assert used == {"4", "6"}


def test_wait_keeps_to_its_timeout_and_close_to_its_grace(job_of: Jobs, tmp_path: Path) -> None:
    pool = WorkerPool(MachineSettings(device="cpu"), tmp_path / "log", _ECHO)
    pool.submit(job_of("hang"))
    start = time.monotonic()
    assert pool.wait(0.2) == []
    pool.close()
    assert time.monotonic() - start < 5
    with pytest.raises(WorkerError, match="closed"):
        pool.submit(job_of("late"))


def test_a_worker_ends_with_its_controller(job_of: Jobs, tmp_path: Path) -> None:
    job = job_of("hang")
    code = f"""
import pickle, sys, os
from pathlib import Path
from phasewise.settings import MachineSettings
from phasewise.training.pool import WorkerPool
pool = WorkerPool(MachineSettings(device="cpu"), None, {_ECHO!r})
from phasewise.runs import RunConfig
from phasewise.training.interface import RunJob
config = RunConfig.model_validate_json(sys.stdin.read())
pool.submit(RunJob(config, Path({str(job.folder)!r}), Path({str(job.ledger)!r})))
print(pool._workers[0].process.pid, flush=True)
os.kill(os.getpid(), 9)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=job.config.model_copy(update={"name": "one"}).model_dump_json(),
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    pid, deadline = int(done.stdout), time.monotonic() + _SECONDS
    while Path(f"/proc/{pid}/cmdline").exists() and time.monotonic() < deadline:
        if "echo_worker" not in Path(f"/proc/{pid}/cmdline").read_bytes().decode():
            break  # a zombie has no command line
        time.sleep(0.05)
    else:
        assert not Path(f"/proc/{pid}").exists(), "the worker lives on"
