"""The dashboard on a port of its own, for tests that look at it."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

from phasewise.dashboard.server import make_server
from phasewise.dashboard.watch import StudyWatch
from phasewise.settings import Study


@contextmanager
def serve(*studies: Study) -> Iterator[str]:
    """Serves studies until the block ends; gives the address without a slash at its end."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = make_server([StudyWatch(study.path) for study in studies])
    thread = Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()
