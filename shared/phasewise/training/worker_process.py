"""How a worker's process is started: as a program, or forked by a worker server if there is one."""

import json
import os
import signal
import socket
import subprocess
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Protocol

from phasewise.records import open_unlinked
from phasewise.runs import UnitConfig
from phasewise.settings import MachineSettings
from phasewise.training.choice import choose_engine, needs_bitsandbytes
from phasewise.training.server_process import SERVER_VARIABLE, server_address, worker_environment
from phasewise.training.worker_server import ACCEPTED, Request, code_identity, peer_user

#: How a worker is started as a program, without its pipe and machine.
WORKER_COMMAND = (sys.executable, "-m", "phasewise.training.worker")
#: Seconds for the server's answer: it may be importing torch for another worker just then.
_PATIENCE = 60.0
#: Bytes at the end of the log that are searched for a dead worker's last words.
_LOG_TAIL_BYTES = 4096
#: A worker that unwinds on a signal exits with this plus its number, as a shell would.
_SIGNAL_EXIT = 128


class WorkerProcess(Protocol):
    """What the pool needs of a worker's process; ``subprocess.Popen`` has it."""

    @property
    def pid(self) -> int:
        """Its process id."""

    def wait(self, timeout: float | None = None) -> int:
        """Returns the exit code, negative for a signal; see ``subprocess.Popen.wait``."""

    def terminate(self) -> None:
        """Sends SIGTERM, unless it has ended."""

    def kill(self) -> None:
        """Sends SIGKILL, unless it has ended."""


class ForkedProcess:
    """A worker forked by a server, which alone may wait for it and tells how it ended.

    Args:
        server: The connection that the worker was asked for through.
    """

    def __init__(self, server: socket.socket) -> None:
        self._server = server
        self._numbers: list[int] = []  # what the server has told: process id, exit code

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._number(0, None)

    def wait(self, timeout: float | None = None) -> int:
        """Returns the exit code, negative for a signal.

        Raises:
            subprocess.TimeoutExpired: It still runs after so many seconds.
        """
        code = self._number(1, timeout)
        self._server.close()
        return code

    def terminate(self) -> None:
        """Sends SIGTERM, unless it has ended."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Sends SIGKILL, unless it has ended."""
        self._signal(signal.SIGKILL)

    def _number(self, place: int, timeout: float | None) -> int:
        while len(self._numbers) <= place:
            self._server.settimeout(timeout)
            try:
                told = self._server.recv(32)
            except TimeoutError:
                raise subprocess.TimeoutExpired("worker", timeout or 0.0) from None
            except OSError:
                told = b""
            # Its server has died, and the worker with it: the kernel sent it SIGTERM.
            self._numbers.append(int(told) if told else -signal.SIGTERM)
        return self._numbers[place]

    def _signal(self, number: signal.Signals) -> None:
        try:
            self._server.send(bytes([number]))
        except OSError:
            return


def start_worker(
    command: tuple[str, ...],
    machine: MachineSettings,
    pipe: Connection,
    *,
    gpu: str | None,
    log: Path | None,
    unit: UnitConfig,
) -> WorkerProcess:
    """Starts a worker.

    Args:
        command: The program, without its pipe and machine.
        machine: Threads, device; handed to the worker.
        pipe: The worker's end; the caller closes its own copy.
        gpu: Its only visible GPU; None: it sees none.
        log: File that its output is appended to; None: it is dropped.
        unit: What it will train. A server, if one is running, forks workers without what only
            quantized units need.

    Raises:
        OSError: The program or the log cannot be opened.
    """
    if log is not None:
        log.parent.mkdir(parents=True, exist_ok=True)
    environment = worker_environment(machine.threads, gpu)
    with open(os.devnull if log is None else log, "ab", opener=open_unlinked) as output:
        name = os.environ.get(SERVER_VARIABLE)
        if (
            name
            and machine.gpus_per_run == 1
            and not needs_bitsandbytes(unit.method, unit.training)
            and command == WORKER_COMMAND
        ):
            engine = choose_engine(unit.task, unit.method, unit.training).engine
            request = Request(code_identity(), machine.model_dump_json(), environment, engine)
            forked = _ask(name, request, pipe.fileno(), output.fileno())
            if forked is not None:
                return forked
        return subprocess.Popen(
            [*command, str(pipe.fileno()), machine.model_dump_json()],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            pass_fds=[pipe.fileno()],
        )


def _ask(name: str, request: Request, pipe: int, log: int) -> ForkedProcess | None:
    """Returns the worker that a server has promised to fork; None if there is no such server."""
    server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        server.settimeout(_PATIENCE)
        server.connect(server_address(name))
        if peer_user(server) == os.geteuid():
            socket.send_fds(server, [json.dumps(request._asdict()).encode()], [pipe, log])
            if server.recv(len(ACCEPTED)) == ACCEPTED:
                return ForkedProcess(server)
    except OSError:  # another machine or container, or it has ended
        pass
    server.close()
    return None


def reap(process: WorkerProcess, seconds: float) -> int:
    """Waits for a process that is to end, kills it after so many seconds; returns its exit code."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def describe_death(code: int, log: Path | None) -> str:
    """Returns how a worker ended.

    Args:
        code: Its exit code; negative for a signal.
        log: Its output.
    """
    number = -code if code < 0 else code - _SIGNAL_EXIT
    if number in set(signal.Signals):
        name = signal.Signals(number).name
        hint = ", often the kernel out of memory" if name == "SIGKILL" else ""
        return f"worker killed by {name}{hint}"
    where = f"; see {log}" if log is not None else ""
    return f"worker ended with exit code {code}{_last_words(log)}{where}"


def _last_words(log: Path | None) -> str:
    if log is None or not log.is_file():
        return ""
    tail = log.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace")
    lines = [line.strip() for line in tail.splitlines() if line.strip()]
    return f": {lines[-1]}" if lines else ""
