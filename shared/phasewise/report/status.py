"""Where every unit of a study stands, from files only and without training libraries."""

import fcntl
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from phasewise.errors import ConfigError, RecordError
from phasewise.records import RECORD_FILE
from phasewise.runs import Phase, UnitPaths
from phasewise.settings import Study
from phasewise.summaries import Optimum, read_optimum

UnitPhase = Literal["waiting", "phase0", "phase1", "phase2", "done"]

#: How the folders of a unit's runs begin, and the phase that they lie in.
_KINDS: dict[str, Phase] = {
    "default-": "phase0",
    "trial-": "phase1",
    "confirm-": "phase1",
    "seed-": "phase2",
}


@dataclass(frozen=True)
class UnitStatus:
    """One unit's progress."""

    task: str
    method: str
    phase: UnitPhase  # the first phase that is not complete; waiting: nothing has been run
    defaults_done: int
    defaults_total: int
    trials_done: int
    trials_total: int
    confirmations_done: int
    confirmations_total: int
    seeds_done: int
    seeds_total: int
    best: float | None  # best raw score so far, search set
    running: bool  # whether a controller holds the unit's lock
    seconds_left: float | None  # runs left x mean seconds of the runs so far; None before one

    @property
    def unit(self) -> str:
        """``task/method``."""
        return f"{self.task}/{self.method}"

    @property
    def done(self) -> int:
        """Runs that have ended, of all phases."""
        return self.defaults_done + self.trials_done + self.confirmations_done + self.seeds_done

    @property
    def total(self) -> int:
        """Runs that the unit needs, of all phases."""
        return self.defaults_total + self.trials_total + self.confirmations_total + self.seeds_total


def collect_status(study: Study, units: Sequence[tuple[str, str]]) -> list[UnitStatus]:
    """Returns the progress of units in the order given.

    A record counts as soon as it is written, whatever became of the run; a file that cannot be
    read counts as absent, since `build_report` names it.
    """
    return [_collect_unit(study, task, method) for task, method in units]


def _collect_unit(study: Study, task: str, method: str) -> UnitStatus:
    paths, settings = UnitPaths(study, task, method), study.settings
    runs = {name: _list_runs(paths, phase, name) for name, phase in _KINDS.items()}
    optimum = _read_optimum(paths)
    searched = optimum is not None and optimum.final
    confirm = min(settings.search.confirm_top, settings.search.trials)
    counts = {name: len(found) for name, found in runs.items()}
    totals = {
        "default-": settings.baselines.seeds,
        "trial-": counts["trial-"] if searched else settings.search.trials,
        "confirm-": counts["confirm-"] if searched else confirm * settings.search.confirm_seeds,
        "seed-": settings.validation.seeds,
    }
    left = sum(max(0, totals[name] - counts[name]) for name in totals)
    seconds = [each for found in runs.values() for each in found if each is not None]
    return UnitStatus(
        task=task,
        method=method,
        phase=_name_phase(paths, searched=searched, started=any(counts.values())),
        defaults_done=counts["default-"],
        defaults_total=totals["default-"],
        trials_done=counts["trial-"],
        trials_total=totals["trial-"],
        confirmations_done=counts["confirm-"],
        confirmations_total=totals["confirm-"],
        seeds_done=counts["seed-"],
        seeds_total=totals["seed-"],
        best=None if optimum is None else optimum.best_value,
        running=_is_locked(paths.lock),
        seconds_left=left * fmean(seconds) if seconds else None,
    )


def _name_phase(paths: UnitPaths, *, searched: bool, started: bool) -> UnitPhase:
    if paths.summary("phase2").is_file():
        return "done"
    if searched:
        return "phase2"
    if paths.summary("phase0").is_file():
        return "phase1"
    return "phase0" if started else "waiting"


def _list_runs(paths: UnitPaths, phase: Phase, prefix: str) -> list[float | None]:
    """Returns the seconds of each run that has a record; None where it does not say."""
    folder = paths.root / phase
    return [_run_seconds(path) for path in folder.glob(f"{prefix}*/{RECORD_FILE}")]


def _run_seconds(path: Path) -> float | None:
    """Reads the times only: checking whole records would make a large study's status slow.

    Runs that train together overlap; their cost holds each one's share.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if content["cost"] is not None:
            return float(content["cost"]["total_seconds"])
        span = datetime.fromisoformat(content["ended"]) - datetime.fromisoformat(content["started"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return span.total_seconds()


def _read_optimum(paths: UnitPaths) -> Optimum | None:
    for path in (paths.optimum, paths.running_optimum):
        try:
            found = read_optimum(path)
        except (RecordError, ConfigError):
            continue
        if found is not None:
            return found
    return None


def _is_locked(path: Path) -> bool:
    """Whether a controller holds a unit's lock.

    A shared lock is tried and given back at once; a controller that starts in that very moment
    tries again by itself.
    """
    try:
        with path.open("rb") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            fcntl.flock(stream, fcntl.LOCK_UN)
    except OSError:  # never started, or a file system without locks
        return False
    return False
