"""What an engine is: it trains runs, reports each evaluation, and obeys the answer."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from phasewise.records import Evaluation, RunRecord, TrainPoint
from phasewise.runs import RunConfig

Decision = Literal["continue", "prune"]


class RunJob(NamedTuple):
    """A run with where its files go."""

    config: RunConfig
    folder: Path
    ledger: Path


class Progress(NamedTuple):
    """What an engine reports while a run trains; one of the two is given."""

    run: str
    evaluation: Evaluation | None = None
    train_point: TrainPoint | None = None


#: Called by the engine for each Progress; the answer matters after an evaluation only.
Reporter = Callable[[Progress], Decision]


class Engine(Protocol):
    """Trains runs on one device, holding the base model between them."""

    def train(self, jobs: Sequence[RunJob], report: Reporter) -> Iterator[RunRecord]:
        """Yields the record of each run as it ends, in any order.

        Out-of-memory, divergence and pruning end in a record; anything else raises.
        """
        ...
