"""The side process that mirrors runs to Weights & Biases, seen from the controller."""

import contextlib
import io
import logging
import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Literal, cast

from phasewise.records import RunRecord
from phasewise.settings import Study
from phasewise.tracking.marker import MirrorPlan, is_mirrored

#: Seconds that `close` waits for runs still to be logged: those on disk take about 0.1 s each.
CLOSE_SECONDS = 10.0
#: Seconds that the side process then has for uploads; after that it ends, whatever hangs.
LAST_SECONDS = 120

_log = logging.getLogger("phasewise.tracking")


class TrackingProcess:
    """Tells a side process which runs begin and end; nothing in it can stop or slow a trial.

    The side process starts with the first run, so a command that only finds finished work pays
    nothing. It may die, hang, or lack a network: one warning is logged and runs go on; what was
    not mirrored can be brought at any later time, see ``sync``.
    """

    def __init__(self, study: Study) -> None:
        self._plan = build_plan(study)
        self._process: subprocess.Popen[bytes] | None = None
        self._off = not _is_wanted(study.settings.tracking.wandb)

    def __enter__(self) -> "TrackingProcess":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """Process id of the side process; None before the first run and after `close`."""
        return None if self._process is None else self._process.pid

    def begin(self, folder: Path) -> None:
        """Tells that a run has been given to a worker; returns at once and never raises.

        Args:
            folder: Of the run, where it tells how far it is (see ``live``).
        """
        self._tell("begin", time.time(), folder)

    def end(self, record: RunRecord, folder: Path) -> None:
        """Tells that a run's record has been written; returns at once and never raises.

        Args:
            record: One that has been mirrored before starts no process.
            folder: Of the run; the side process reads ``record.json`` from it.
        """
        if self._process is not None or not is_mirrored(folder, record.hash):
            self._tell("end", 0.0, folder)

    def close(self, timeout: float = CLOSE_SECONDS) -> bool:
        """Waits a little for what is still to be sent; then the side process goes on by itself.

        Returns:
            Whether it ended by itself, having mirrored every run; True if it never started.
        """
        process, self._process = self._process, None
        self._off = True
        if process is None:
            return True
        _close_pipe(process)
        try:
            return process.wait(max(timeout, 0.0)) == 0
        except subprocess.TimeoutExpired:
            _log.warning(
                "W&B: still sending, beside what comes next, for %d s at most; "
                "`phasewise sync` brings what is missing then",
                LAST_SECONDS,
            )
            return False

    def _tell(self, word: Literal["begin", "end"], since: float, folder: Path) -> None:
        if self._off:
            return
        line = f"{word} {since:.3f} {folder.absolute()}\n"
        try:
            # A line is shorter than PIPE_BUF, so all of it is written, or, into a full pipe, none.
            if self._open_pipe().write(os.fsencode(line)) is None:
                self._give_up("is not keeping up")
        except OSError as error:
            self._give_up(f"cannot be reached ({error})")

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


def build_plan(study: Study) -> MirrorPlan:
    """Returns where a study's runs go."""
    settings = study.settings
    return MirrorPlan(
        folder=settings.experiments_path.absolute(),
        entity=settings.tracking.entity,
        projects=dict(settings.tracking.projects),
        search=settings.search,
    )


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
