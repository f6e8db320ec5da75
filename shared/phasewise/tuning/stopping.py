"""Stopping on SIGTERM (SLURM's time limit, spot VMs) or Ctrl-C without losing anything."""

import os
import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Protocol

from phasewise.errors import ConfigError, PhasewiseError

#: Minutes after which a job gives up waiting for another controller; not set: it waits.
WAIT_VARIABLE = "PHASEWISE_WAIT_MINUTES"

#: How long a signal may go unnoticed while nothing else is to do.
_POLL_SECONDS = 0.2


class StoppedError(PhasewiseError):
    """The process was asked to stop; what ran is taken up by the next call.

    Attributes:
        made_progress: Whether a run ended or was saved, so that the next call comes further.
    """

    made_progress = False


class BusyError(PhasewiseError):
    """Another controller works on the unit, and this one is not to wait any longer."""


class Checked(Protocol):
    """What ends a wait."""

    def check(self) -> None:
        """Raises if the wait is to end."""


class WaitLimit:
    """Ends a wait for another controller, where the environment says how long it may be.

    A job on a cluster holds an allocation while it waits. It gives that back and comes again later.

    Args:
        stop: Checked too.
        minutes: How long; None: as the environment says.
    """

    def __init__(self, stop: Checked, minutes: float | None = None) -> None:
        self._stop = stop
        self._minutes = _read_minutes() if minutes is None else minutes
        self._start = time.monotonic()

    def check(self) -> None:
        """Raises if a stop was asked for, or the wait is over.

        Raises:
            StoppedError: See ``StopFlag``.
            BusyError: The time is over.
        """
        self._stop.check()
        if self._minutes is not None and time.monotonic() - self._start > self._minutes * 60:
            raise BusyError(
                f"gave up after {self._minutes:g} minutes ({WAIT_VARIABLE}): another controller "
                "works on this unit; run the same command later"
            )


def _read_minutes() -> float | None:
    text = os.environ.get(WAIT_VARIABLE, "")
    try:
        return float(text) if text else None
    except ValueError:
        raise ConfigError(f"{WAIT_VARIABLE}: expected minutes, got {text!r}") from None


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
