"""The side process that mirrors records to Weights & Biases, seen from the controller."""

import contextlib
import io
import logging
import os
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import cast

from phasewise.errors import RecordError
from phasewise.records import RECORD_FILE, RunRecord, read_record
from phasewise.settings import Study
from phasewise.tracking.wandb_mirror import MirrorPlan, read_marker

#: Seconds that `close` waits for runs still to be logged: an offline run takes about 0.1 s, an
#: unreachable server is given up after about 15 s (see side_process.NETWORK_LIMITS).
CLOSE_SECONDS = 45.0

_log = logging.getLogger("phasewise.tracking")


class TrackingProcess:
    """Feeds the folders of ended runs to a side process; nothing in it can stop or slow a trial.

    The side process starts with the first run, so a command that only finds finished work pays
    nothing. It may die, hang, or lack a network: one warning is logged and runs go on; what was
    not mirrored has no marker beside its record and can be submitted again at any later time.
    """

    def __init__(self, study: Study) -> None:
        settings = study.settings
        self._plan = MirrorPlan(
            folder=settings.experiments_path.absolute(),
            entity=settings.tracking.entity,
            projects=dict(settings.tracking.projects),
        )
        self._process: subprocess.Popen[bytes] | None = None
        self._off = not _is_wanted(settings.tracking.wandb)

    def __enter__(self) -> "TrackingProcess":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close(CLOSE_SECONDS if kind is None else 5.0)

    @property
    def pid(self) -> int | None:
        """Process id of the side process; None before the first run and after `close`."""
        return None if self._process is None else self._process.pid

    def submit(self, record: RunRecord, folder: Path) -> None:
        """Hands over a run whose record has been written; returns at once and never raises.

        Args:
            record: Decides whether the run has been mirrored before; then nothing happens.
            folder: Of the run; the side process reads ``record.json`` from it.
        """
        if self._off or _is_mirrored(folder, record.hash):
            return
        try:
            # A line is shorter than PIPE_BUF, so all of it is written, or, into a full pipe, none.
            if self._open_pipe().write(f"{folder.absolute()}\n".encode()) is None:
                self._give_up("is not keeping up")
        except OSError as error:
            self._give_up(f"cannot be reached ({error})")

    def submit_unmirrored(self, root: Path) -> None:
        """Hands over every run below ``root`` that has a record but no marker."""
        for path in sorted(root.rglob(RECORD_FILE)):
            if self._off:
                return
            if read_marker(path.parent) is None:
                self._submit_folder(path.parent)

    def close(self, timeout: float = CLOSE_SECONDS) -> bool:
        """Waits for the runs handed over; after ``timeout`` seconds the side process is ended.

        Returns:
            Whether it ended by itself, having seen every run; True if it never started.
        """
        process, self._process = self._process, None
        self._off = True
        if process is None:
            return True
        _close_pipe(process)
        try:
            code = process.wait(max(timeout, 0.0))
        except subprocess.TimeoutExpired:
            _end(process)
            _log.warning("W&B: not done after %.0f s; unmirrored runs keep their records", timeout)
            return False
        return code == 0

    def _submit_folder(self, folder: Path) -> None:
        with contextlib.suppress(RecordError):  # the report names unreadable records
            record = read_record(folder)
            if record is not None:
                self.submit(record, folder)

    def _open_pipe(self) -> io.FileIO:
        if self._process is None:
            self._process = _start(self._plan)
        if self._process.poll() is not None:
            raise BrokenPipeError(f"exit code {self._process.returncode}")
        return cast(io.FileIO, self._process.stdin)  # unbuffered, see _start

    def _give_up(self, why: str) -> None:
        self._off = True
        if self._process is not None:
            _end(self._process)
            self._process = None
        _log.warning("W&B: the side process %s; training goes on without it", why)


def _is_wanted(wanted: bool) -> bool:
    if not wanted:
        _log.info("W&B: off (tracking.wandb: false)")
        return False
    if os.environ.get("WANDB_MODE") == "disabled":
        _log.info("W&B: off (WANDB_MODE=disabled)")
        return False
    if find_spec("wandb") is None:
        _log.warning("W&B: package 'wandb' is not installed; runs are kept as records only")
        return False
    return True


def _is_mirrored(folder: Path, record_hash: str) -> bool:
    marker = read_marker(folder)
    return marker is not None and marker.hash == record_hash


def _start(plan: MirrorPlan) -> "subprocess.Popen[bytes]":
    """Starts the side process in a session of its own: Ctrl-C in the terminal spares it."""
    plan.folder.mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "phasewise.tracking.side_process", plan.model_dump_json()],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        bufsize=0,
        start_new_session=True,
    )
    assert process.stdin is not None
    os.set_blocking(process.stdin.fileno(), False)  # a full pipe must not hold up a trial
    return process


def _close_pipe(process: "subprocess.Popen[bytes]") -> None:
    if process.stdin is not None:
        with contextlib.suppress(OSError):
            process.stdin.close()


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Ends the side process with wandb's own service process, which is in its session."""
    _close_pipe(process)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(5.0)
