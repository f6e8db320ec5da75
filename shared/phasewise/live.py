"""What a run tells while it trains: ``live.jsonl`` in its folder, until the record takes its place.

The first line says which run it is; each further one is a train point or an evaluation, with the
time in seconds since 1970. Lines are only appended, so that a reader may follow the file.
"""

import json
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from phasewise.errors import RecordError
from phasewise.records import LIVE_FILE, Evaluation, TrainPoint, open_unlinked
from phasewise.runs import RunConfig


class LiveLog:
    """Writes a run's file; what an earlier attempt has left is replaced.

    The file is for lookers-on only: one that cannot be written changes nothing about the run.

    Args:
        folder: Of the run.
        config: Of the run.
        last_step: The optimizer step that ends it.
    """

    def __init__(self, folder: Path, config: RunConfig, last_step: int) -> None:
        self._path = folder / LIVE_FILE
        with suppress(OSError, RecordError):
            folder.mkdir(parents=True, exist_ok=True)
            self._path.unlink(missing_ok=True)
        self._append(config=config.model_dump(mode="json"), last_step=last_step)

    def note(self, what: Literal["train", "evaluation"], content: TrainPoint | Evaluation) -> None:
        """Appends a train point or an evaluation."""
        self._append(**{what: content.model_dump(mode="json")})

    def _append(self, **content: Any) -> None:
        line = json.dumps({"time": round(time.time(), 3), **content}, ensure_ascii=False)
        with (
            suppress(OSError, RecordError),
            open(self._path, "a", encoding="utf-8", opener=open_unlinked) as stream,
        ):
            stream.write(f"{line}\n")


@dataclass(frozen=True)
class LiveRun:
    """How far a run is that has no record yet; it may have been cut off since."""

    config: RunConfig
    last_step: int
    started: float  # seconds since 1970, of this attempt
    updated: float
    evaluations: tuple[Evaluation, ...]
    train_points: tuple[TrainPoint, ...]

    @property
    def status(self) -> Literal["running"]:
        """Beside the words that records have."""
        return "running"

    @property
    def seconds(self) -> float | None:
        """What the whole run will have taken, if it goes on like this; None before a step."""
        done = self.step / self.last_step
        return (self.updated - self.started) / done if done else None

    @property
    def step(self) -> int:
        """The last optimizer step that is known of."""
        trained = [point.step for point in self.train_points[-1:]]
        return max(trained + [each.step for each in self.evaluations[-1:]], default=0)


def list_live(unit: Path, since: float) -> list[LiveRun]:
    """Returns the runs in a unit's folder that have begun since a time, the earliest first."""
    found = [read_live(path.parent) for path in sorted(unit.glob(f"*/*/{LIVE_FILE}"))]
    begun = [live for live in found if live is not None and live.started >= since]
    return sorted(begun, key=lambda live: live.started)


def read_live(folder: Path) -> LiveRun | None:
    """Returns how far a run is; None without a file that tells, torn last lines left out."""
    try:
        lines = (folder / LIVE_FILE).read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return None
    rows: list[Any] = []
    with suppress(ValueError):  # a line that is being written
        for line in lines:
            rows.append(json.loads(line))
    try:
        head, *rest = rows
        return LiveRun(
            config=RunConfig.model_validate(head["config"]),
            last_step=head["last_step"],
            started=head["time"],
            updated=rows[-1]["time"],
            evaluations=tuple(
                Evaluation(**row["evaluation"]) for row in rest if "evaluation" in row
            ),
            train_points=tuple(TrainPoint(**row["train"]) for row in rest if "train" in row),
        )
    except (ValueError, TypeError, KeyError, ValidationError):
        return None
