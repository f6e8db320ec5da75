"""Runs a command as a whole process and measures it."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

OUTPUT_FILE = "output.log"
_TAIL_LINES = 15
_ROOT = Path(__file__).resolve().parents[2]


class ProcessError(RuntimeError):
    """A measured process failed; the message ends with its last words."""


class Measured(NamedTuple):
    """What a process took, from its start to its end."""

    started: float
    """Unix time, seconds."""
    seconds: float
    """Wall clock."""
    cpu_seconds: float
    """Of the process and the children it waited for (Ray's workers are not among them)."""
    peak_memory_mb: float
    """Resident memory of the largest of these processes."""


def search_path() -> str:
    """Returns a PYTHONPATH by which processes in any folder find this harness and Phasewise."""
    package = find_spec("phasewise")
    assert package is not None
    assert package.origin is not None
    return f"{_ROOT}:{Path(package.origin).parents[1]}"


def run_measured(
    command: Sequence[str], folder: Path, environment: Mapping[str, str | None], limit: float
) -> Measured:
    """Runs a command in a folder; its output goes to ``output.log`` there.

    Args:
        command: Program and arguments.
        folder: Where it runs.
        environment: What differs from this process's; None removes a variable.
        limit: Seconds after which it is killed with all its children.

    Raises:
        ProcessError: It failed or was killed.
    """
    merged = {**os.environ, **environment}
    variables = {name: value for name, value in merged.items() if value is not None}
    output = folder / OUTPUT_FILE
    started, clock = time.time(), time.perf_counter()
    with output.open("wb") as stream:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=variables,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        timer = threading.Timer(limit, os.killpg, (process.pid, signal.SIGKILL))
        timer.start()
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            os.killpg(process.pid, signal.SIGTERM)
            raise
        finally:
            timer.cancel()
    seconds = time.perf_counter() - clock
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        lines = output.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL_LINES:]
        raise ProcessError(
            f"{' '.join(command)}: exit code {process.returncode} after {seconds:.0f} s:\n"
            + "\n".join(lines)
        )
    cpu = usage.ru_utime + usage.ru_stime
    return Measured(started, seconds, cpu, usage.ru_maxrss * 1024 / 1e6)
