"""Runs a command as a whole process and measures it."""

import os
import resource
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import psutil

OUTPUT_FILE = "output.log"
_TAIL_LINES = 15
_SAMPLE_SECONDS = 1.0
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
    """Of the process and all its descendants."""
    peak_memory_mb: float
    """Of all of them together, shared pages counted once, as seen once per second."""


def search_path() -> str:
    """Returns a PYTHONPATH by which processes in any folder find this harness and Phasewise."""
    package = find_spec("phasewise")
    assert package is not None
    assert package.origin is not None
    return f"{_ROOT}:{Path(package.origin).parents[1]}"


class _Watch(threading.Thread):
    """Samples memory and CPU time of a process and its descendants; Ray's are not waited for."""

    def __init__(self, process: int) -> None:
        super().__init__(daemon=True)
        self.peak_bytes = 0
        self._root = psutil.Process(process)
        self._cpu: dict[int, float] = {}
        self._done = threading.Event()

    @property
    def cpu_seconds(self) -> float:
        """Of all processes seen, each up to its last sample."""
        return sum(self._cpu.values())

    def run(self) -> None:
        """Samples until ``finish``."""
        while not self._done.wait(_SAMPLE_SECONDS):
            try:
                family = [self._root, *self._root.children(recursive=True)]
            except psutil.Error:
                return
            self.peak_bytes = max(self.peak_bytes, sum(map(self._sample, family)))

    def finish(self) -> None:
        """Ends the thread."""
        self._done.set()
        self.join()

    def _sample(self, process: psutil.Process) -> int:
        try:
            times = process.cpu_times()
            self._cpu[process.pid] = times.user + times.system
            return int(process.memory_full_info().pss)
        except psutil.Error:  # it has ended
            return 0


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
    started, clock = time.time(), time.perf_counter()
    with (folder / OUTPUT_FILE).open("wb") as stream:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=variables,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        watch = _Watch(process.pid)
        watch.start()
        status, usage = _wait(process, limit)
    seconds = time.perf_counter() - clock
    watch.finish()
    if status != 0:
        raise _describe_failure(command, status, seconds, folder / OUTPUT_FILE)
    # Exact for what was waited for; the samples know of the rest.
    cpu = max(usage.ru_utime + usage.ru_stime, watch.cpu_seconds)
    return Measured(started, seconds, cpu, watch.peak_bytes / 1e6)


def _wait(process: subprocess.Popen[bytes], limit: float) -> tuple[int, resource.struct_rusage]:
    """Returns exit code and usage; kills the process and its children after ``limit`` seconds."""
    timer = threading.Timer(limit, os.killpg, (process.pid, signal.SIGKILL))
    timer.start()
    try:
        _, status, usage = os.wait4(process.pid, 0)
    except BaseException:
        os.killpg(process.pid, signal.SIGTERM)
        raise
    finally:
        timer.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, usage


def _describe_failure(
    command: Sequence[str], status: int, seconds: float, output: Path
) -> ProcessError:
    lines = output.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL_LINES:]
    told = "\n".join(lines)
    return ProcessError(f"{' '.join(command)}: exit code {status} after {seconds:.0f} s:\n{told}")
