"""An error that one run raised: its record, and whether the process can go on."""

import traceback
from datetime import UTC, datetime

import torch

from phasewise.provenance import describe_environment
from phasewise.records import RunRecord, write_atomically
from phasewise.training.interface import ControllerGoneError, RunJob

ERROR_FILE = "error.txt"


def explain_failure(job: RunJob, error: Exception) -> str:
    """Returns the message of a run that raised; the traceback goes to ``error.txt``.

    Raises:
        ControllerGoneError: If that is the error: no run is to blame.
        RuntimeError: The error itself, if it took the device with it, or if it is another rank's.
    """
    if isinstance(error, ControllerGoneError) or is_device_lost(error) or is_peer_lost(error):
        raise error
    path = job.folder / ERROR_FILE
    write_atomically(path, "".join(traceback.format_exception(error)))
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]} (traceback: {path})"


def describe_failure(job: RunJob, error: Exception, started: datetime) -> RunRecord:
    """Returns the record of a run of which nothing is left but its error; see above."""
    return RunRecord(
        config=job.config,
        hash=job.config.hash,
        status="failed",
        message=explain_failure(job, error),
        environment=describe_environment(),
        started=started.isoformat(timespec="seconds"),
        ended=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def is_device_lost(error: Exception) -> bool:
    """Whether the CUDA context is gone: every later call of this process would fail too."""
    lost = isinstance(error, torch.AcceleratorError) and not isinstance(
        error, torch.OutOfMemoryError
    )
    return lost or "CUDA error" in str(error)


def is_peer_lost(error: Exception) -> bool:
    """Whether another rank of the run could not be reached, whatever became of it."""
    text = str(error)
    named = any(name in text for name in ("gloo", "NCCL", "Connection closed by peer"))
    return isinstance(error, torch.distributed.DistError) or (
        isinstance(error, RuntimeError) and named
    )
