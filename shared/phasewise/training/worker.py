"""A worker process: trains one run after another and holds the base model between them.

Started by ``WorkerPool`` as ``python -m phasewise.training.worker FD MACHINE_JSON``.
"""

import ctypes
import os
import signal
import sys
import traceback
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from types import FrameType

from phasewise.provenance import describe_environment
from phasewise.records import RunRecord, write_atomically, write_record
from phasewise.settings import MachineSettings
from phasewise.training.interface import Decision, Engine, Progress, RunJob

#: Linux: the signal a process gets when its parent ends (sys/prctl.h).
_PR_SET_PDEATHSIG = 1
#: Exit code after a CUDA error, which leaves the device unusable for this process.
_EXIT_DEVICE_LOST = 70
ERROR_FILE = "error.txt"


def serve(connection: Connection, engine: Engine) -> None:
    """Trains the jobs that come through ``connection`` until it is closed.

    Sends each ``Progress`` and each ``RunRecord``; after an evaluation it waits for the decision.
    """

    def report(progress: Progress) -> Decision:
        connection.send(progress)
        if progress.evaluation is None:
            return "continue"
        decision: Decision = connection.recv()
        return decision

    while True:
        try:
            job: RunJob = connection.recv()
        except EOFError:
            return
        started = _now()
        try:
            record = next(iter(engine.train([job], report)))
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return  # the controller has gone
        except Exception as error:
            if _is_device_lost(error):
                traceback.print_exc()
                sys.exit(_EXIT_DEVICE_LOST)
            record = _describe_failure(job, error, started)
        write_record(job.folder, record)
        connection.send(record)


def _describe_failure(job: RunJob, error: Exception, started: str) -> RunRecord:
    """Returns the record of a run that raised; the traceback goes to ``error.txt``."""
    write_atomically(job.folder / ERROR_FILE, "".join(traceback.format_exception(error)))
    lines = str(error).strip().splitlines() or [""]
    return RunRecord(
        config=job.config,
        hash=job.config.hash,
        status="failed",
        message=f"{type(error).__name__}: {lines[0]} (traceback: {job.folder / ERROR_FILE})",
        environment=describe_environment(),
        started=started,
        ended=_now(),
    )


def _is_device_lost(error: Exception) -> bool:
    """Whether the CUDA context is gone: every later call of this process would fail too."""
    import torch

    lost = isinstance(error, torch.AcceleratorError) and not isinstance(
        error, torch.OutOfMemoryError
    )
    return lost or "CUDA error" in str(error)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _end_with_parent(parent: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it ended before the line above
        sys.exit(1)


def _exit_on_term(number: int, frame: FrameType | None) -> None:
    """Unwinds the stack, so that temporary files are removed; the exit code is not zero."""
    sys.exit(128 + number)


def main() -> None:
    """Connects to the pool and serves it; see the module's docstring."""
    parent = os.getppid()
    signal.signal(signal.SIGTERM, _exit_on_term)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the controller, which decides
    _end_with_parent(parent)
    connection = Connection(int(sys.argv[1]))
    machine = MachineSettings.model_validate_json(sys.argv[2])
    from phasewise.training.trainer_engine import TrainerEngine

    serve(connection, TrainerEngine(machine))


if __name__ == "__main__":
    main()
