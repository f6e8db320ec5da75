"""How a worker server is started, found and ended, and the environment of its workers.

Imports the standard library only: a command starts its server before it imports anything else.
"""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from secrets import token_hex
from types import FrameType

#: Variable that names a server to the commands that may use it.
SERVER_VARIABLE = "PHASEWISE_WORKER_SERVER"
#: glibc's (manual, 38.2), read once when a program starts. A step takes and frees some hundred MB:
#: it shall find them again instead of having the kernel clear fresh pages, and in large pages
#: where the kernel gives them to those who ask. At most 512 MB stay with an idle process.
_MALLOC = {
    "glibc.malloc.hugetlb": 1,
    "glibc.malloc.mmap_threshold": 32 << 20,
    "glibc.malloc.trim_threshold": 512 << 20,
}


def share_server(*ahead: str) -> "subprocess.Popen[bytes] | None":
    """Starts a worker server for this process and all commands that it starts.

    Args:
        ahead: Study file and method of the workers that will be asked for, either may be empty:
            then the server imports at once what these need. Nothing: it waits for the first.

    Returns:
        The server, which ends once its standard input is closed, at the latest by this process's
        end; None where there are no abstract Unix sockets: then each worker is a program.
    """
    if sys.platform != "linux":
        return None
    name = f"phasewise-{os.getpid()}-{token_hex(8)}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(server_address(name))
        listener.listen()
        os.environ[SERVER_VARIABLE] = name  # workers' environment will hold it, so the server's too
        descriptor = str(listener.fileno())
        process = subprocess.Popen(
            [sys.executable, "-m", "phasewise.training.worker_server", descriptor, *ahead],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # Not what C libraries may have set besides, which no worker will hold.
            env={**os.environ, "GLIBC_TUNABLES": _tune_malloc()},
            pass_fds=[listener.fileno()],
            start_new_session=True,  # Ctrl-C reaches the controllers, which decide
        )
    _servers.append(process)
    return process


def pass_on_term(server: "subprocess.Popen[bytes] | None") -> None:
    """Has SIGTERM to this process reach its jobs at once, and then do what it did before.

    Snakemake waits for its jobs when it is told to stop; a machine that is about to be taken away
    tells it alone. Jobs stop in seconds, and the same command continues them.

    Args:
        server: The worker server; its workers end with their controllers.
    """
    before = signal.getsignal(signal.SIGTERM)

    def stop(number: int, frame: FrameType | None) -> None:
        import psutil

        for child in psutil.Process().children():
            if server is not None and child.pid == server.pid:
                continue
            with suppress(psutil.Error):  # it has ended meanwhile
                for process in [child, *child.children(recursive=True)]:
                    process.terminate()
        if callable(before):
            before(number, frame)

    signal.signal(signal.SIGTERM, stop)


#: Held, so that their standard input stays open as long as this process lives.
_servers: list["subprocess.Popen[bytes]"] = []


@contextmanager
def server_ahead(study: str, method: str) -> Iterator[None]:
    """Has the imports of workers under way meanwhile, in a server that ends afterwards.

    Where a server is shared already, or none can be, there is no other.

    Args:
        study: The study file; empty: the workers run with the defaults of ``machine``.
        method: Of the study; empty: any.
    """
    server = None if os.environ.get(SERVER_VARIABLE) else share_server(study, method)
    try:
        yield
    finally:
        if server is not None:
            del os.environ[SERVER_VARIABLE]
            server.terminate()  # it may be importing still; its workers have ended
            server.wait()


def server_address(name: str) -> bytes:
    """Returns a name that leaves no file behind (man 7 unix, abstract)."""
    return b"\0" + name.encode()


def worker_environment(threads: int, gpu: str | None) -> dict[str, str]:
    """Returns a worker's environment; all of it must stand before torch is imported.

    Args:
        threads: ``MachineSettings.threads``.
        gpu: Its only visible GPU; None: it sees none.
    """
    count = str(threads)
    return {
        **os.environ,
        "OMP_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "OPENBLAS_NUM_THREADS": count,
        "GLIBC_TUNABLES": _tune_malloc(),
        "OMP_WAIT_POLICY": "PASSIVE",  # spinning threads of two workers starve each other
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "CUDA_VISIBLE_DEVICES": gpu if gpu is not None else "",
    }


def _tune_malloc() -> str:
    """Returns glibc's tunables: the user's own, and ours where these say nothing."""
    own = os.environ.get("GLIBC_TUNABLES", "")
    ours = [f"{name}={value}" for name, value in _MALLOC.items() if name not in own]
    return ":".join(filter(None, [own, *ours]))
