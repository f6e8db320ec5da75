"""Where every unit of a study stands, from files only and without training libraries."""

import fcntl
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from statistics import fmean
from typing import Literal, NamedTuple

from phasewise.errors import ConfigError, RecordError
from phasewise.live import LiveRun, list_live
from phasewise.records import RunRecord
from phasewise.report.machines import find_sources
from phasewise.report.stale import find_hosts, list_stale
from phasewise.runs import Phase, Role, UnitPaths, phase_hash
from phasewise.settings import Study
from phasewise.steps import read_hash
from phasewise.summaries import Optimum, read_optimum
from phasewise.unit_runs import present_unit, read_runs

UnitPhase = Literal["waiting", "phase0", "phase1", "phase2", "done"]
_PHASES: tuple[Phase, ...] = ("phase0", "phase1", "phase2")


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
    hosts: tuple[str, ...]  # that ran what counts
    stale: tuple[str, ...]  # what is out of date, by whom, and what mends it
    others: int  # records of other settings, which count for nothing
    unreadable: tuple[str, ...]  # what is wrong with each record that cannot be read
    failed: int  # runs whose worker was killed or that raised; the phase's command tries them again
    best: float | None  # best raw score so far, search set
    metric: str  # of the best score
    maximize: bool  # whether more of it is better
    learned: bool | None  # as the optimum has it; None: not known, or the search still runs
    running: bool  # whether a controller holds the unit's lock
    live: tuple[str, ...]  # what it trains now: run and step
    seconds_left: float | None  # runs left x seconds of a run; None before one has made a step

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

    A record counts as soon as it is written, whatever became of the run; one of other settings is
    counted apart, and a file that cannot be read is named.
    """
    return estimate_left([count_unit(study, task, method) for task, method in units])


class CountedUnit(NamedTuple):
    """A unit's progress, and seconds of a run of it; None before one has made a step."""

    status: UnitStatus
    seconds: float | None


def estimate_left(units: Sequence[CountedUnit]) -> list[UnitStatus]:
    """Fills in the time left; a unit without a run of its own is taken to be as slow as others.

    Those of the same method come first.
    """
    known = [each for each in units if each.seconds is not None]
    found = []
    for status, own in units:
        alike = [each.seconds for each in known if each.status.method == status.method]
        others = [own] if own is not None else alike or [each.seconds for each in known]
        seconds = [each for each in others if each is not None]
        left = (status.total - status.done) * fmean(seconds) if seconds else None
        found.append(replace(status, seconds_left=left))
    return found


def find_live(paths: UnitPaths) -> list[LiveRun]:
    """Returns what a unit trains now; none of what an earlier controller was stopped in."""
    if not is_locked(paths.lock):
        return []
    return list_live(paths.root, since=paths.lock.stat().st_mtime)  # written when it was taken


def _measure_run(records: Sequence[RunRecord], live: Sequence[LiveRun]) -> float | None:
    """Returns the mean seconds of a run; before one has ended, from how far the first have come."""
    if records:
        return fmean(_measure_seconds(record) for record in records)
    seconds = [each.seconds / len(live) for each in live if each.seconds is not None]
    return fmean(seconds) if seconds else None


def count_unit(study: Study, task: str, method: str) -> CountedUnit:
    """Returns a unit's progress, its time left aside."""
    paths, settings = UnitPaths(study, task, method), study.settings
    found = [read_runs(study, task, method, phase=phase) for phase in _PHASES]
    records = [record for runs in found for record in runs.records]
    now = present_unit(study, task, method, records)

    def is_current(phase: Phase, file: Path) -> bool:
        known = read_hash(file)
        expected = None if now is None else phase_hash(study, phase, task, method, now)
        return known is not None and expected in (None, known)

    others = [record for runs in found for record in runs.others]
    source = next((s for s in find_sources(study) if s.unit == f"{task}/{method}"), None)
    optimum = _read_optimum(paths, is_current)
    searched = optimum is not None and optimum.final
    confirm = min(settings.search.confirm_top, settings.search.trials)
    every = Counter(record.config.role for record in records)
    totals: dict[Role, int] = {
        "default": settings.baselines.seeds,
        "trial": every["trial"] if searched else settings.search.trials,
        "confirm": every["confirm"] if searched else confirm * settings.search.confirm_seeds,
        "seed": settings.validation.seeds,
    }
    # Runs of a larger budget than today's stay, and are none that it needs.
    counts = {role: min(every[role], total) for role, total in totals.items()}
    live = find_live(paths)
    status = UnitStatus(
        task=task,
        method=method,
        phase=_name_phase(paths, is_current, searched=searched, started=bool(records or live)),
        defaults_done=counts["default"],
        defaults_total=totals["default"],
        trials_done=counts["trial"],
        trials_total=totals["trial"],
        confirmations_done=counts["confirm"],
        confirmations_total=totals["confirm"],
        seeds_done=counts["seed"],
        seeds_total=totals["seed"],
        hosts=find_hosts(records),
        stale=tuple(
            list_stale(study, (task, method), others, is_current=is_current, source=source)
        ),
        others=len(others),
        unreadable=tuple(text for runs in found for text in runs.unreadable),
        failed=sum(record.status == "failed" for record in records),
        best=None if optimum is None else optimum.best_value,
        metric=study.tasks[task].metric,
        maximize=study.tasks[task].direction == "maximize",
        learned=optimum.learned if optimum is not None and optimum.final else None,
        running=is_locked(paths.lock),
        live=tuple(f"{each.config.name} {each.step}/{each.last_step}" for each in live),
        seconds_left=None,
    )
    return CountedUnit(status, _measure_run(records, live))


def _name_phase(
    paths: UnitPaths, is_current: Callable[[Phase, Path], bool], *, searched: bool, started: bool
) -> UnitPhase:
    """Files of other settings end no phase."""
    if is_current("phase2", paths.summary("phase2")):
        return "done"
    if searched:
        return "phase2"
    if is_current("phase0", paths.summary("phase0")):
        return "phase1"
    return "phase0" if started else "waiting"


def _measure_seconds(record: RunRecord) -> float:
    """Returns a run's seconds: its share, where runs overlap because they train together."""
    if record.cost is not None:
        return record.cost.total_seconds
    span = datetime.fromisoformat(record.ended) - datetime.fromisoformat(record.started)
    return span.total_seconds()


def _read_optimum(paths: UnitPaths, is_current: Callable[[Phase, Path], bool]) -> Optimum | None:
    for path in (paths.optimum, paths.running_optimum):
        if not is_current("phase1", path):
            continue
        try:
            found = read_optimum(path)
        except (RecordError, ConfigError):
            continue
        if found is not None:
            return found
    return None


def is_locked(path: Path) -> bool:
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
