"""What an engine is: it trains runs, reports each evaluation, and obeys the answer."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from phasewise.records import Evaluation, RunRecord, is_there
from phasewise.runs import RunConfig

#: Key of a record's environment: why a run trained alone though ``auto`` would have packed it.
UNPACKED_KEY = "not_packed"

Decision = Literal["continue", "prune"]


class RunJob(NamedTuple):
    """A run with where its files go."""

    config: RunConfig
    folder: Path
    ledger: Path
    lease: Path | None = None
    """A file that is there as long as its controller may write; see ``tuning.locking``."""

    def require_lease(self) -> None:
        """Looks whether the run's files may be written.

        Raises:
            ControllerGoneError: They are another controller's.
        """
        if self.lease is not None and not is_there(self.lease):
            raise ControllerGoneError


class Progress(NamedTuple):
    """What an engine reports while a run trains."""

    run: str
    evaluation: Evaluation
    is_last: bool = False
    """Whether the run's training is over, so that no answer is waited for."""


class Resumption(NamedTuple):
    """What an engine tells of a run that has checkpoints, before it trains."""

    run: str
    step: int
    """Optimizer steps that it need not make again; 0: it starts anew."""
    evaluations: tuple[Evaluation, ...] = ()
    """Those up to that step, all of them reported before."""
    notes: tuple[str, ...] = ()
    """What was wrong with checkpoints that were passed over."""

    def describe(self) -> list[str]:
        """Returns it in words, a line each."""
        lines = [f"{self.run}: {note}" for note in self.notes]
        if self.step:
            lines.append(f"{self.run} goes on from its checkpoint of step {self.step}")
        return lines


class Slots(NamedTuple):
    """How many runs an engine would train at the same time, those under way included."""

    runs: int


class Answer(NamedTuple):
    """The decision on a run after an evaluation."""

    run: str
    decision: Decision


class ControllerGoneError(Exception):
    """Nobody listens any more: whatever trains may end."""


#: Called by the engine for each Progress; of a run's last and of a Resumption the answer does not
#: matter.
Reporter = Callable[[Progress | Resumption], Decision]
#: Where an engine takes its runs from, whenever it has a free slot. A list will do. An endless
#: source gives None while there is no further run but some are under way, and ends when none will
#: come.
Feed = Iterable[RunJob | None]


class Engine(Protocol):
    """Trains runs on one device, holding the base model between them."""

    @property
    def slots(self) -> int:
        """Runs that it would train at the same time; may change while it trains."""
        ...

    def train(self, jobs: Feed, report: Reporter) -> Iterator[RunRecord]:
        """Yields the record of each run as it ends, in any order.

        Out-of-memory, divergence, pruning and an error of one run end in a record.

        Raises:
            ControllerGoneError: From ``report`` or the feed; all runs under way are dropped, the
                long ones with a checkpoint.
            SystemExit: Likewise, if the process was asked to end.
            torch.AcceleratorError: The device is lost to this process.
        """
        ...
