"""A unit is one controller's: by flock where there is one, by its lease in any case."""

import errno
import fcntl
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from fake_pool import FakePool, build_record, write_tuning_study
from phasewise.errors import ConfigError, RecordError
from phasewise.records import RECORD_FILE
from phasewise.training.interface import ControllerGoneError, RunJob
from phasewise.training.pool import PoolEvent
from phasewise.training.worker import WorkerChannel
from phasewise.tuning import locking
from phasewise.tuning.locking import hold_lock
from phasewise.tuning.search import search_unit
from phasewise.tuning.stopping import WAIT_VARIABLE, BusyError, StopFlag, StoppedError, WaitLimit
from phasewise.tuning.units import Unit

HOLDER = """
import sys, time
from pathlib import Path
from phasewise.tuning.locking import hold_lock
from phasewise.tuning.stopping import StopFlag
with hold_lock(Path(sys.argv[1]), print, StopFlag()):
    print("held", flush=True)
    time.sleep(60)
"""


def _leases(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("controller.*.lock"))


def test_lock_names_its_holder_and_ends_with_it(tmp_path: Path) -> None:
    path = tmp_path / "unit" / "controller.lock"
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        lines: list[str] = []
        stop = StopFlag()

        def say(line: str) -> None:
            lines.append(line)
            stop.request("a test")

        with pytest.raises(StoppedError), hold_lock(path, say, stop):
            pytest.fail("two holders")
        assert lines[0].startswith(f"waiting: pid {holder.pid} on ")
        holder.kill()
        with hold_lock(path, lines.append, StopFlag()):
            assert len(lines) <= 2
            assert _leases(path.parent) == ["controller.2.lock"]


def test_a_job_gives_up_waiting_when_its_minutes_are_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "unit" / "controller.lock"
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        monkeypatch.setenv(WAIT_VARIABLE, "0.01")
        since = time.monotonic()
        gone = pytest.raises(BusyError, match=r"gave up after 0.01 minutes .*same command later")
        with gone, hold_lock(path, lambda _: None, WaitLimit(StopFlag())):
            pytest.fail("two holders")
        assert 0.5 < time.monotonic() - since < 10
        holder.kill()
        with hold_lock(path, lambda _: None, WaitLimit(StopFlag())):
            pass  # a minute that is over does not matter to who need not wait
    monkeypatch.setenv(WAIT_VARIABLE, "soon")
    with pytest.raises(ConfigError, match="expected minutes, got 'soon'"):
        WaitLimit(StopFlag())


@pytest.fixture
def no_flock(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.setattr(locking, "_BEAT_SECONDS", 0.05)
    monkeypatch.setattr(locking, "_LEASE_SECONDS", 1.0)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_without_locks_a_line_is_told_and_the_lease_does(
    number: int, no_flock: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    lines: list[str] = []
    path = tmp_path / "controller.lock"
    for _ in range(2):  # given back, it is taken at once
        began = time.monotonic()
        with hold_lock(path, lines.append, StopFlag()):
            assert time.monotonic() - began < 0.5
    assert lines == [f"{path}: no locks on this file system; a lease of 1 s does"] * 2


def test_without_locks_a_live_holder_is_waited_for(no_flock: None, tmp_path: Path) -> None:
    path = tmp_path / "controller.lock"
    order: list[str] = []

    def wait() -> None:
        with hold_lock(path, order.append, StopFlag()):
            order.append("second")

    with hold_lock(path, print, StopFlag()):
        thread = threading.Thread(target=wait)
        thread.start()
        time.sleep(2.0)  # twice as long as a lease that nobody touches lasts
        order.append("first")
    thread.join(5)
    assert order[1].startswith(f"waiting: pid {os.getpid()} on ")
    assert order[2:] == ["first", "second"]


def test_without_locks_a_dead_holder_is_outlived(no_flock: None, tmp_path: Path) -> None:
    path = tmp_path / "controller.lock"
    (tmp_path / "controller.6.lock").write_text("pid 1 on elsewhere\n")
    began = time.monotonic()
    with hold_lock(path, print, StopFlag()) as lease:
        assert 0.9 < time.monotonic() - began < 3
        assert lease.path.name == "controller.7.lock"
        assert _leases(tmp_path) == ["controller.7.lock"]


def test_of_many_without_locks_one_at_a_time_holds(no_flock: None, tmp_path: Path) -> None:
    path = tmp_path / "controller.lock"
    inside: list[int] = []
    most: list[int] = []

    def work() -> None:
        with hold_lock(path, lambda _: None, StopFlag()):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.02)
            inside.pop()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert most == [1] * 6


def _take_over(folder: Path) -> None:
    """What another node does once this one's lock has been given up."""
    (old,) = folder.glob("controller.*.lock")
    number = int(old.name.split(".")[1]) + 1
    old.with_name(f"controller.{number}.lock").write_text("pid 7 on other\n")
    old.unlink()


class _Hangs(FakePool):
    """The node hangs in the third trial, and comes back when another works on the unit."""

    folder: Path

    def wait(self, timeout: float | None = None) -> list[PoolEvent]:
        if len(self.started) == 3 and _leases(self.folder) == ["controller.1.lock"]:
            _take_over(self.folder)
        return super().wait(timeout)


def test_a_controller_that_hung_and_returns_writes_nothing(tmp_path: Path) -> None:
    study = write_tuning_study(tmp_path, trials=6)
    unit = Unit(study, "toy", "lora")
    pool = _Hangs()
    pool.folder = unit.paths.root
    with pytest.raises(RecordError, match=r"another controller has taken over.*writes nothing"):
        search_unit(study, "toy", "lora", pool_factory=lambda: pool)
    before = unit.paths.storage.read_bytes()
    assert before.count(b"datetime_complete") == 2  # told: the trials before
    assert (unit.paths.root / "controller.2.lock").read_text() == "pid 7 on other\n"
    assert not (unit.paths.root / "controller.1.lock").exists()
    assert not unit.paths.optimum.exists()


class _Pipe:
    def send(self, message: object) -> None:
        pytest.fail(f"told {message}")


def test_a_worker_of_it_writes_no_record_either(tmp_path: Path) -> None:
    study = write_tuning_study(tmp_path, trials=2)
    unit = Unit(study, "toy", "lora")
    seeds = {"init": 0, "order": 0, "subset": 0}
    job: RunJob = unit.job("trial", 0, unit.default, seeds)  # type: ignore[arg-type]
    lease = tmp_path / "controller.1.lock"
    channel = WorkerChannel(_Pipe(), lambda: 1, [job._replace(lease=lease)])  # type: ignore[arg-type]
    channel._open[job.config.name] = job._replace(lease=lease)
    with pytest.raises(ControllerGoneError):
        channel.end(build_record(job.config, "finished"))
    assert not (job.folder / RECORD_FILE).exists()
