"""When a run saves itself: by minutes, and before its process ends."""

import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from threading import current_thread, main_thread
from time import monotonic
from types import FrameType
from typing import Any, NamedTuple, Protocol

from phasewise.checkpoints import FoundCheckpoint, WriteFiles, find_checkpoint, write_checkpoint
from phasewise.training.interface import RunJob
from phasewise.training.ranks import Ranks

#: Of the time between two checkpoints, what is lost without being saved when a process ends: runs
#: of seconds leave nothing behind, and end at once.
_WORTH_SAVING = 0.1
#: Saving may take a twentieth of a run's time.
_MOST_OFTEN = 20.0


#: Exit code of a process that unwinds on SIGTERM, as a shell's would be.
TERMINATED = 128 + signal.SIGTERM


class UnsavedRunWarning(UserWarning):
    """A checkpoint could not be written; the message says why. The run goes on."""


class Worth(Protocol):
    """Something under way that may be worth waiting for when a process is to end."""

    @property
    def is_worth_saving(self) -> bool:
        """Whether more would be lost than a short run takes."""
        ...


class DecidedElsewhere(NamedTuple):
    """A run of which another process decides whether it is worth waiting for."""

    is_worth_saving: bool = True


class EndRequest:
    """What a worker was asked to do: end, after it has saved the runs under way.

    Attributes:
        is_made: Whether it was.
    """

    def __init__(self) -> None:
        self.is_made = False
        self._savers: list[Worth] = []

    def make(self) -> bool:
        """Asks for the end; returns whether it has to wait for a run that is worth saving."""
        self.is_made = any(saver.is_worth_saving for saver in self._savers)
        return self.is_made

    def enter(self, saver: Worth) -> None:
        """Takes the saver of a run that begins."""
        self._savers.append(saver)

    def leave(self, saver: Worth) -> None:
        """Forgets the saver of a run that has ended."""
        if saver in self._savers:
            self._savers.remove(saver)


@contextmanager
def saving_on_term(end: EndRequest) -> Iterator[None]:
    """Has SIGTERM end the process by SystemExit: at once, or once the runs under way are saved."""

    def take(number: int, frame: FrameType | None) -> None:
        if not end.make():
            sys.exit(TERMINATED)

    if current_thread() is not main_thread():  # which alone may set handlers
        yield
        return
    previous = signal.signal(signal.SIGTERM, take)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def name_owner(job: RunJob, engine: str, device: str) -> str:
    """Returns whose a checkpoint is: only the same engine goes on from it, on the same device."""
    return f"{job.config.hash} by {engine} on {device}"


class RunSaver:
    """Saves one run.

    Args:
        job: The run.
        minutes: Between two checkpoints; None: none is written, or looked for.
        owner: See ``name_owner``.
        ranks: The processes that train it, this one among them; all of them save it together.

    Attributes:
        found: The checkpoint to go on from; None: from the start.
        notes: What was wrong with newer ones.
    """

    def __init__(
        self, job: RunJob, minutes: float | None, owner: str, ranks: Ranks | None = None
    ) -> None:
        self._job, self._owner, self._ranks = job, owner, ranks or Ranks()
        self._seconds = None if minutes is None else minutes * 60
        self._wait = self._seconds or 0.0
        self._since = monotonic()
        self.look_again()

    def look_again(self) -> None:
        """Finds the checkpoint to go on from, for an attempt that begins now."""
        looked = FoundCheckpoint(None, ())
        if self._seconds is not None:
            looked = self._ranks.share(partial(find_checkpoint, self._job.folder, self._owner))
        self.found, self.notes = looked
        self._saved = None if self.found is None else self.found.step

    @property
    def is_due(self) -> bool:
        """Whether so much time has passed that the run is to be saved after this step."""
        return self._seconds is not None and monotonic() - self._since >= self._wait

    @property
    def is_worth_saving(self) -> bool:
        """Whether more would be lost than a short run takes."""
        if self._seconds is None:
            return False
        return monotonic() - self._since >= _WORTH_SAVING * self._seconds

    def save(self, step: int, state: dict[str, Any], write: WriteFiles) -> None:
        """Writes a checkpoint, unless there is one of this step; one that fails is told of.

        Args:
            step: Optimizer steps done.
            state: What is no tensor; JSON.
            write: Writes the tensors, of several ranks each its own.

        Raises:
            ControllerGoneError: The run's files are another controller's.
        """
        if step == self._saved:
            return
        self._job.require_lease()
        started = monotonic()
        try:
            write_checkpoint(self._job.folder, step, self._owner, state, write, writers=self._ranks)
            self._saved = step
        except Exception as error:  # safetensors and torch have errors of their own for a full disk
            message = f"{self._job.config.label}: no checkpoint of step {step}: {error}"
            warnings.warn(message, UnsavedRunWarning, stacklevel=2)
        self._since = monotonic()
        self._wait = max(self._seconds or 0.0, _MOST_OFTEN * (self._since - started))
