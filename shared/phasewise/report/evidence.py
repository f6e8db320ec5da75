"""Everything the report rests on, read once from files; what cannot be read becomes a note."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, TypeVar

from phasewise.errors import ConfigError, RecordError
from phasewise.example_values import (
    IntervalOf,
    SeedKey,
    Values,
    find_score_interval,
    read_example_values,
)
from phasewise.records import RunRecord
from phasewise.runs import Phase, UnitConfig, UnitPaths, phase_hash, task_baselines_path, task_hash
from phasewise.settings import Study
from phasewise.statistics import Interval, summarize_scores
from phasewise.steps import StepName, name_command
from phasewise.summaries import (
    Optimum,
    PhaseSummary,
    ScoreSummary,
    TaskBaselines,
    read_optimum,
    read_phase_summary,
    read_task_baselines,
)
from phasewise.tasks.ledger import read_ledger
from phasewise.unit_runs import present_unit, read_runs

_T = TypeVar("_T")
_S = TypeVar("_S", Optimum, PhaseSummary)

PHASES: tuple[Phase, ...] = ("phase0", "phase1", "phase2")
_COMMANDS: dict[Phase, StepName] = {
    "phase0": "defaults",
    "phase1": "search",
    "phase2": "validate",
}


@dataclass(frozen=True)
class UnitEvidence:
    """What one unit has left behind so far."""

    task: str
    method: str
    metric: str
    maximize: bool
    records: dict[Phase, tuple[RunRecord, ...]]
    phase0: PhaseSummary | None
    phase2: PhaseSummary | None
    optimum: Optimum | None
    notes: tuple[str, ...]  # what was left out or could not be read, in words
    root: Path  # the unit's folder, in which its runs lie

    @property
    def trials(self) -> tuple[RunRecord, ...]:
        """The trials of Phase 1."""
        return tuple(r for r in self.records["phase1"] if r.config.role == "trial")

    @property
    def confirmations(self) -> tuple[RunRecord, ...]:
        """The runs of Phase 1 that repeat its best trials on fresh seeds."""
        return tuple(r for r in self.records["phase1"] if r.config.role == "confirm")

    @cached_property
    def default_search(self) -> ScoreSummary:
        """The published default on the search set."""
        return self._summarize(self.phase0, "phase0", report=False)

    @cached_property
    def default_report(self) -> ScoreSummary:
        """The published default on the report set."""
        return self._summarize(self.phase0, "phase0", report=True)

    @cached_property
    def validation(self) -> ScoreSummary:
        """Phase 2 on the report set; of the seeds that have ended, if it still runs."""
        return self._summarize(self.phase2, "phase2", report=True)

    @cached_property
    def example_values(self) -> tuple[dict[SeedKey, Values], str]:
        """Phase 2, example by example, and why not; see `read_example_values`."""
        return read_example_values(self.seed_runs(), self.root)

    @cached_property
    def interval(self) -> tuple[Interval | None, IntervalOf]:
        """The 95 % interval of Phase 2's mean, and what it allows for."""
        values, _ = self.example_values
        return find_score_interval(self.metric, self.validation.scores, list(values.values()))

    def seed_scores(self) -> dict[SeedKey, float]:
        """Returns Phase 2's report scores by the run's seeds; equal keys pair across methods."""
        return {key: record.report_score or 0.0 for key, record in self.seed_runs().items()}

    def seed_runs(self) -> dict[SeedKey, RunRecord]:
        """Returns the finished runs of Phase 2 by their seeds; a NaN is no score."""
        return self._finished("phase2", self.phase2)

    def _finished(self, phase: Phase, summary: PhaseSummary | None) -> dict[SeedKey, RunRecord]:
        named = None if summary is None else set(summary.runs)
        runs = {}
        for record in self.records[phase]:
            seeds, score = record.config.seeds, record.report_score
            wanted = named is None or f"{phase}/{record.config.name}" in named
            scored = score is not None and math.isfinite(score)
            if wanted and scored and record.status == "finished":
                runs[seeds.init, seeds.order, seeds.subset] = record
        return runs

    def _summarize(
        self, summary: PhaseSummary | None, phase: Phase, *, report: bool
    ) -> ScoreSummary:
        if summary is not None:
            return summary.report if report else summary.search
        finished = [record for record in self.records[phase] if record.status == "finished"]
        scores = [record.report_score if report else record.search_score for record in finished]
        known = [score for score in scores if score is not None and math.isfinite(score)]
        return summarize_scores(known)


@dataclass(frozen=True)
class TaskEvidence:
    """What belongs to a task rather than to one of its units."""

    task: str
    metric: str
    maximize: bool
    baselines: TaskBaselines | None
    ledger: tuple[dict[str, Any], ...]
    units: tuple[UnitEvidence, ...]
    notes: tuple[str, ...]  # what was left out or could not be read, in words
    data_notes: tuple[str, ...] = ()  # about the data, such as how much was cut


def gather_evidence(study: Study, units: Sequence[tuple[str, str]]) -> tuple[TaskEvidence, ...]:
    """Reads what the given units have left behind, task by task in the order given.

    Nothing that a run left raises: an unreadable file, or a record of other settings, is left
    out and named in the notes.

    Raises:
        ConfigError: A unit is not of the study.
    """
    for task, method in units:
        if task not in study.tasks or method not in study.methods:
            raise ConfigError(f"{study.path}: expected units of the study, got {task}/{method}")
    tasks = dict.fromkeys(task for task, _ in units)
    return tuple(
        _gather_task(study, task, [method for other, method in units if other == task])
        for task in tasks
    )


def _gather_task(study: Study, task: str, methods: Sequence[str]) -> TaskEvidence:
    notes: list[str] = []
    ledger = _try(lambda: read_ledger(UnitPaths(study, task, methods[0]).ledger), notes)
    units = tuple(_gather_unit(study, task, method) for method in methods)
    records = [r for unit in units for phase in PHASES for r in unit.records[phase]]
    baselines = _read_baselines(study, task, methods[0], records, notes)
    data_notes = tuple(f"{task}: {note}" for note in (baselines.notes if baselines else ()))
    if len({record.config.unit_config.data.data_fingerprint for record in records}) > 1:
        notes.append(f"{task}: the runs read different data (several fingerprints)")
    settings = study.tasks[task]
    maximize = settings.direction == "maximize"
    entries = tuple(ledger or ())
    return TaskEvidence(
        task, settings.metric, maximize, baselines, entries, units, tuple(notes), data_notes
    )


def _gather_unit(study: Study, task: str, method: str) -> UnitEvidence:
    paths, notes = UnitPaths(study, task, method), list[str]()
    records = {phase: _read_records(study, task, method, phase, notes) for phase in PHASES}
    optimum = _try(lambda: read_optimum(paths.optimum), notes)
    running = _try(lambda: read_optimum(paths.running_optimum), notes)
    phase0, phase2 = (
        _try(lambda phase=phase: read_phase_summary(paths.summary(phase)), notes)  # type: ignore[misc]
        for phase in ("phase0", "phase2")
    )

    @cache  # reading data and model takes a while: only if there is something to compare
    def present() -> UnitConfig | None:
        return present_unit(study, task, method, [r for each in records.values() for r in each])

    def keep(found: _S | None, phase: Phase, file: Path) -> _S | None:
        """A summary of other settings is named and not used."""
        if found is None or (now := present()) is None:
            return found
        if found.settings_hash == phase_hash(study, phase, task, method, now):
            return found
        command = name_command(study, _COMMANDS[phase], task, method)
        notes.append(f"{file.name} is of other settings; run: {command}")
        return None

    optimum = keep(optimum, "phase1", paths.optimum)
    return UnitEvidence(
        task=task,
        method=method,
        metric=study.tasks[task].metric,
        maximize=study.tasks[task].direction == "maximize",
        records=records,
        phase0=keep(phase0, "phase0", paths.summary("phase0")),
        phase2=keep(phase2, "phase2", paths.summary("phase2")),
        optimum=optimum or keep(running, "phase1", paths.running_optimum),
        notes=tuple(f"{task}/{method}: {note}" for note in notes),
        root=paths.root,
    )


def _read_baselines(
    study: Study, task: str, method: str, records: Sequence[RunRecord], notes: list[str]
) -> TaskBaselines | None:
    path = task_baselines_path(study, task)
    found = _try(lambda: read_task_baselines(path), notes)
    if found is None:
        return None
    now = present_unit(study, task, method, records)
    if now is None or found.settings_hash == task_hash(study, task, now):
        return found
    command = name_command(study, "baselines", task)
    notes.append(f"{task}: {path.name} is of other settings; run: {command}")
    return None


def _read_records(
    study: Study, task: str, method: str, phase: Phase, notes: list[str]
) -> tuple[RunRecord, ...]:
    """Reads the records of one phase; notes what was left out."""
    found = read_runs(study, task, method, phase=phase)
    notes += found.unreadable
    if found.others:
        runs = ", ".join(record.config.name for record in found.others)
        notes.append(
            f"{len(found.others)} records belong to other settings and were left out: {runs}"
        )
    return found.records


def _try(read: Callable[[], _T], notes: list[str]) -> _T | None:
    try:
        return read()
    except (RecordError, ConfigError, OSError) as error:
        notes.append(str(error))
        return None
