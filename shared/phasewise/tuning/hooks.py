"""Telling others about runs (the W&B mirror) without ever waiting for them or failing."""

import queue
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Protocol

from phasewise.records import RunRecord

#: How long the end of a phase waits for a slow listener; records can be mirrored later.
_PATIENCE_SECONDS = 10.0


class RunListener(Protocol):
    """Who is told of runs, from a thread of their own."""

    def begin(self, folder: Path) -> None:
        """A run, whose folder this is, has been given to a worker."""

    def end(self, record: RunRecord, folder: Path) -> None:
        """A run has ended; its record lies in its folder."""


class RunHook:
    """Calls a listener in a thread of its own, in order; its errors become one line each.

    Args:
        listener: None: nobody is told.
        say: Gets the lines about errors.
        patience: Seconds that leaving the context waits for calls still to be made.
    """

    def __init__(
        self,
        listener: RunListener | None,
        say: Callable[[str], None],
        *,
        patience: float = _PATIENCE_SECONDS,
    ) -> None:
        self._listener = listener
        self._say = say
        self._patience = patience
        self._queue: queue.SimpleQueue[Callable[[RunListener], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="run-hook", daemon=True)

    def __enter__(self) -> "RunHook":
        if self._listener is not None:
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._listener is None:
            return
        self._queue.put(None)
        self._thread.join(self._patience)
        if self._thread.is_alive():
            self._say("tracking is slow; going on without it, the records are complete")

    def begin(self, folder: Path) -> None:
        """Tells that a run begins, and returns at once."""
        self._put(lambda listener: listener.begin(folder))

    def end(self, record: RunRecord, folder: Path) -> None:
        """Passes a record on and returns at once."""
        self._put(lambda listener: listener.end(record, folder))

    def _put(self, call: Callable[[RunListener], None]) -> None:
        if self._listener is not None:
            self._queue.put(call)

    def _work(self) -> None:
        assert self._listener is not None
        while (call := self._queue.get()) is not None:
            try:
                call(self._listener)
            except Exception as error:  # whatever it is, it must not cost a run
                self._say(f"tracking failed: {error!r}")
