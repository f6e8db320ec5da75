"""Stopping on SIGTERM (SLURM's time limit, spot VMs) or Ctrl-C without losing anything."""

import signal
import threading
import time
from types import FrameType, TracebackType

from phasewise.errors import PhasewiseError

#: How long a signal may go unnoticed while nothing else is to do.
_POLL_SECONDS = 0.2


class StoppedError(PhasewiseError):
    """The process was asked to stop; what ran is taken up by the next call."""


class StopFlag:
    """Turns the first SIGTERM or SIGINT into a flag that is checked between events.

    An exception thrown into a half-done write could tear the journal; a flag cannot. A second
    SIGINT interrupts at once. Outside the main thread, which alone may set handlers, the flag can
    only be raised by ``request``.
    """

    def __init__(self) -> None:
        self._reason: str | None = None
        self._previous: dict[signal.Signals, object] = {}

    def __enter__(self) -> "StopFlag":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._previous.clear()

    def request(self, reason: str) -> None:
        """Asks for a stop at the next check."""
        self._reason = reason

    def check(self) -> None:
        """Raises if a stop was asked for.

        Raises:
            StoppedError: With the reason, and that the same command continues.
        """
        if self._reason is not None:
            raise StoppedError(f"stopped by {self._reason}; run the same command to continue")

    def wait(self, seconds: float) -> None:
        """Waits so long.

        Raises:
            StoppedError: A stop was asked for, before or meanwhile.
        """
        deadline = time.monotonic() + seconds
        while True:
            self.check()
            left = deadline - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(left, _POLL_SECONDS))

    def _handle(self, number: int, _: FrameType | None) -> None:
        name = signal.Signals(number).name
        if self._reason is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.request(name)
