"""A server that forks workers, so that torch and what else they need is imported once for many.

Runs as ``python -m phasewise.training.worker_server FD [STUDY METHOD]``. It imports nothing heavy
before the first worker is asked for, unless told what workers there will be, and ends with the
process that started it, once its last worker has ended.

A worker that it forks equals one started as a program: before the fork nothing runs but imports,
under the environment that the first worker asked for. Who needs another one is refused, and starts
a program. A worker ends with its controller, as the server sees the connection close, and with
the server.
"""

import gc
import json
import os
import socket
import struct
import sys
from contextlib import suppress
from importlib import import_module
from multiprocessing import get_context
from multiprocessing.connection import wait
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any, NamedTuple

import phasewise
from phasewise.errors import PhasewiseError
from phasewise.settings import MachineSettings, load_study
from phasewise.training import worker
from phasewise.training.choice import EngineName
from phasewise.training.server_process import worker_environment

ACCEPTED, REFUSED = b"accepted", b"refused"
#: Largest request; the kernel's limit is near 200 kB.
_MOST_BYTES = 1 << 20
#: A client that has connected but sends nothing is given up after so many seconds.
_PATIENCE = 5.0
#: All that a worker imports until its first run has ended, by what trains it.
_PRELOADED: dict[EngineName, tuple[str, ...]] = {
    "packed": ("phasewise.training.packed.engine",),
    "trainer": ("phasewise.training.packed.engine", "phasewise.training.run_trainer"),
}
#: Variables that workers may differ in: set after the fork, or read by no library.
_OWN = frozenset({"CUDA_VISIBLE_DEVICES", "_", "SHLVL", "OLDPWD"})
#: Variables that are read once, when a program starts.
_READ_AT_START = ("PYTHON", "LD_", "MALLOC_", "GLIBC_TUNABLES")


class Request(NamedTuple):
    """What a worker is to be like; its pipe and its log travel beside it."""

    identity: str
    machine: str
    environment: dict[str, str]
    engine: EngineName


class _Child(NamedTuple):
    process: ForkProcess
    client: socket.socket


class WorkerServer:
    """Forks a worker for each request that comes through a listening socket.

    Args:
        listener: The socket; clients of other users are turned away.
        owner: File descriptor that is closed when the process that wants this server ends.
    """

    def __init__(self, listener: socket.socket, owner: int) -> None:
        self._listener = listener
        self._owner: int | None = owner
        self._identity = code_identity()
        self._environment: dict[str, str] | None = None  # of every worker, once there is one
        self._engines: set[EngineName] = set()  # whose modules are imported
        self._cuda_is_spoilt = False
        self._children: dict[int, _Child] = {}  # by what tells that the process has ended
        self._clients: dict[socket.socket, _Child] = {}  # whose controllers live

    def run(self) -> None:
        """Serves until the owner and all workers have ended."""
        while self._owner is not None or self._children:
            sources: list[Any] = [*self._children, *self._clients]
            if self._owner is not None:
                sources += [self._owner, self._listener]
            for ready in wait(sources):
                self._handle(ready)

    def import_ahead(self, study: str, method: str) -> None:
        """Imports what workers that pack need before the first is asked for.

        Does nothing for a study that cannot be read, as its command will say, and for a quantized
        method, whose workers are programs.

        Args:
            study: Its file; empty: the default ``machine``.
            method: One of the study's; empty: any.
        """
        machine = MachineSettings()
        if study:
            try:
                loaded = load_study(Path(study))
            except PhasewiseError:
                return
            machine = loaded.settings.machine
            if method in loaded.methods and loaded.methods[method].quantization != "none":
                return
        environment = worker_environment(machine.threads, gpu=None)
        if machine.device != "cpu":  # an import may ask for GPUs, and keep the answer
            environment.pop("CUDA_VISIBLE_DEVICES")
            environment |= _only(os.environ, ("CUDA_VISIBLE_DEVICES",))
        self._take_environment(environment)
        self._preload("packed")

    def _handle(self, ready: Any) -> None:
        if ready is self._listener:
            client, _ = self._listener.accept()
            with suppress(OSError, ValueError, TypeError):  # a client that speaks otherwise
                self._answer(client)
            if client not in self._clients:
                client.close()
        elif ready == self._owner:
            self._owner = None
            self._listener.close()
        elif ready in self._clients:
            self._send_signal(self._clients[ready])
        elif ready in self._children:
            self._remove(self._children.pop(ready))

    def _answer(self, client: socket.socket) -> None:
        client.settimeout(_PATIENCE)
        if peer_user(client) != os.geteuid():
            return
        data, files, _, _ = socket.recv_fds(client, _MOST_BYTES, 2)
        try:
            request = Request(**json.loads(data))
            if not self._can_fork(request):
                client.send(REFUSED)
                return
            client.send(ACCEPTED)
            self._fork(request, client, *files)
        finally:
            for file in files:
                os.close(file)

    def _can_fork(self, request: Request) -> bool:
        if request.identity != self._identity:
            return False
        if self._environment is None:
            here = _only(os.environ, _READ_AT_START)
            if here != _only(request.environment, _READ_AT_START):
                return False
            self._take_environment(request.environment)
        if self._environment != _shared(request.environment):
            return False
        self._preload(request.engine)
        return not (self._cuda_is_spoilt and request.environment.get("CUDA_VISIBLE_DEVICES"))

    def _take_environment(self, environment: dict[str, str]) -> None:
        self._environment = _shared(environment)
        os.environ.clear()
        os.environ.update(environment)
        worker.leave_out_bitsandbytes(needed=False)

    def _preload(self, engine: EngineName) -> None:
        if engine in self._engines:
            return
        self._engines.add(engine)
        gc.disable()  # see worker.main
        for name in _PRELOADED[engine]:
            with suppress(Exception):  # the worker meets the same error, and has a log for it
                import_module(name)
        gc.freeze()  # no worker's collections touch, and so copy, what all share
        gc.enable()
        self._cuda_is_spoilt = _is_cuda_spoilt()

    def _fork(self, request: Request, client: socket.socket, pipe: int, log: int) -> None:
        process = get_context("fork").Process(
            target=self._become_worker, args=(request, client, pipe, log)
        )
        process.start()
        child = _Child(process, client)
        self._children[process.sentinel] = self._clients[client] = child
        _tell(client, process.pid)

    def _become_worker(self, request: Request, client: socket.socket, pipe: int, log: int) -> None:
        for connection in (self._listener, client, *self._clients):
            connection.close()
        for source, target in ((os.open(os.devnull, os.O_RDONLY), 0), (log, 1), (log, 2)):
            os.dup2(source, target)
        os.environ.update(request.environment)
        sys.argv[1:] = [str(pipe), request.machine]
        worker.main()

    def _send_signal(self, child: _Child) -> None:
        """Sends the worker the signal that its controller asks for; SIGTERM if that is gone."""
        try:
            asked = child.client.recv(1)
        except OSError:
            asked = b""
        pid = child.process.pid
        if asked and pid and child.process.exitcode is None:
            os.kill(pid, asked[0])
        elif not asked:
            del self._clients[child.client]
            child.process.terminate()

    def _remove(self, child: _Child) -> None:
        child.process.join()
        _tell(child.client, child.process.exitcode)
        self._clients.pop(child.client, None)
        child.client.close()


def code_identity() -> str:
    """Returns what the code of a worker follows from: environment, package, folder."""
    package = Path(phasewise.__file__).parent
    newest = max(path.stat().st_mtime_ns for path in package.rglob("*.py"))
    return f"{sys.prefix} {package} {newest} {os.getcwd()}"


def peer_user(connection: socket.socket) -> int:
    """Returns the id of the user at the other end of a Unix socket (man 7 unix, SO_PEERCRED)."""
    size = struct.calcsize("3i")
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    return int(struct.unpack("3i", credentials)[1])


def _is_cuda_spoilt() -> bool:
    """Whether an import has touched CUDA, which no forked process could then use; asks one."""
    if (process := os.fork()) == 0:
        torch = sys.modules.get("torch")
        os._exit(int(torch is not None and torch.cuda._is_in_bad_fork()))
    return os.waitpid(process, 0)[1] != 0


def _only(environment: Any, prefixes: tuple[str, ...]) -> dict[str, str]:
    return {key: value for key, value in environment.items() if key.startswith(prefixes)}


def _shared(environment: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in environment.items() if key not in _OWN}


def _tell(client: socket.socket, number: int | None) -> None:
    with suppress(OSError):  # the controller has gone
        client.send(str(number).encode())


def main() -> None:
    """Serves the socket whose descriptor is the first argument, as long as stdin is open."""
    descriptor, *ahead = sys.argv[1:]
    server = WorkerServer(socket.socket(fileno=int(descriptor)), owner=sys.stdin.fileno())
    if ahead:
        server.import_ahead(*ahead)
    server.run()


if __name__ == "__main__":
    main()
