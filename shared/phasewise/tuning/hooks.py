"""Telling others about ended runs (the W&B mirror) without ever waiting for them or failing."""

import queue
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from phasewise.records import RunRecord

#: Called with each ended run's record and its folder.
OnRecord = Callable[[RunRecord, Path], object]

#: How long the end of a phase waits for a slow listener; records can be mirrored later.
_PATIENCE_SECONDS = 10.0


class RecordHook:
    """Calls a listener in a thread of its own, in order; its errors become one line each.

    Args:
        listener: None: nobody is told.
        say: Gets the lines about errors.
        patience: Seconds that leaving the context waits for calls still to be made.
    """

    def __init__(
        self,
        listener: OnRecord | None,
        say: Callable[[str], None],
        *,
        patience: float = _PATIENCE_SECONDS,
    ) -> None:
        self._listener = listener
        self._say = say
        self._patience = patience
        self._queue: queue.SimpleQueue[tuple[RunRecord, Path] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="record-hook", daemon=True)

    def __enter__(self) -> "RecordHook":
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

    def tell(self, record: RunRecord, folder: Path) -> None:
        """Passes a record on and returns at once."""
        if self._listener is not None:
            self._queue.put((record, folder))

    def _work(self) -> None:
        assert self._listener is not None
        while (item := self._queue.get()) is not None:
            record, folder = item
            try:
                self._listener(record, folder)
            except Exception as error:  # whatever it is, it must not cost a run
                self._say(f"tracking of {record.config.name} failed: {error!r}")
