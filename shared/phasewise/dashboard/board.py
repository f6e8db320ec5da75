"""What the live page of a study shows, as values; drawn with the report's own figures."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from phasewise.figures import assign_styles
from phasewise.formatting import show_score
from phasewise.live import LiveRun
from phasewise.records import RunRecord
from phasewise.report import VERDICT_FILE
from phasewise.report.drawing import Drawing, draw_figures
from phasewise.report.evidence import PHASES, UnitEvidence
from phasewise.report.figure_list import LIVE_FIGURES
from phasewise.report.status import UnitStatus
from phasewise.runs import Phase
from phasewise.settings import FixedParameter, Study
from phasewise.tuning.optimum import meaningful_hyperparameters
from phasewise.tuning.progress import format_duration

#: running: a controller holds its lock. stopped: begun, not complete, and nobody works on it.
UnitState = Literal["running", "stopped", "waiting", "done"]
_PHASE_WORDS = {
    "waiting": "not begun",
    "phase0": "0: published default",
    "phase1": "1: search",
    "phase2": "2: fresh seeds",
    "done": "complete",
}


@dataclass(frozen=True)
class RunLink:
    """A run, by what leads to its page."""

    task: str
    method: str
    phase: Phase
    run: str


@dataclass(frozen=True)
class LiveRow:
    """A run under way."""

    link: RunLink
    step: int
    last_step: int
    left: str  # seconds to go, in words; empty before a step
    settings: tuple[tuple[str, str], ...]  # hyperparameters that are searched


@dataclass(frozen=True)
class Failure:
    """A run that ended without a score."""

    link: RunLink
    status: str
    message: str


@dataclass(frozen=True)
class Best:
    """The best score of a task so far, of the trials of all its methods."""

    task: str
    metric: str
    direction: str  # in words
    score: str
    link: RunLink
    confirmed: str  # its mean on fresh seeds; empty before


@dataclass(frozen=True)
class UnitBoard:
    """A unit on the page."""

    task: str
    method: str
    color: str
    state: UnitState
    phase: str  # in words
    status: UnitStatus
    shards: tuple[str, ...]  # machines whose part it is
    best: str
    left: str
    live: tuple[LiveRow, ...]
    drawings: tuple[Drawing, ...]  # curves of the runs under way
    failures: tuple[Failure, ...]
    version: str  # changes with what its figures show


@dataclass(frozen=True)
class Board:
    """A study on its page."""

    name: str
    description: str
    units: tuple[UnitBoard, ...]
    best: tuple[Best, ...]
    verdict: tuple[str, ...]  # as the last report has it, once every unit is complete
    notes: tuple[str, ...]  # what is wrong with the study's file or its records

    @property
    def done(self) -> int:
        """Runs that have ended."""
        return sum(unit.status.done for unit in self.units)

    @property
    def total(self) -> int:
        """Runs that the study needs."""
        return sum(unit.status.total for unit in self.units)

    @property
    def state(self) -> UnitState:
        """Running if a unit is, waiting or done if all are."""
        states = {unit.state for unit in self.units}
        if "running" in states:
            return "running"
        return next(iter(states)) if len(states) == 1 else "stopped"

    @property
    def left(self) -> str:
        """Training left, one run after another, in words; empty if not known or nothing is."""
        known = [u.status.seconds_left for u in self.units]
        seconds = [each for each in known if each is not None]
        if self.state == "done" or not seconds or self.done == self.total:
            return ""
        more = "" if len(seconds) == len(known) else "more than "
        return f"{more}{format_duration(sum(seconds))} of training left"

    @property
    def failures(self) -> tuple[Failure, ...]:
        """Of all units."""
        return tuple(failure for unit in self.units for failure in unit.failures)

    @property
    def running(self) -> tuple[UnitBoard, ...]:
        """The units that train now."""
        return tuple(unit for unit in self.units if unit.live)


def build_unit(
    study: Study,
    unit: UnitEvidence,
    status: UnitStatus,
    live: Sequence[LiveRun],
    version: str,
) -> UnitBoard:
    """Returns a unit as the page shows it.

    Args:
        study: The study.
        unit: What it has left so far.
        status: Its progress.
        live: Its runs under way.
        version: Of the files that all this was read from.
    """
    best = "" if status.best is None else f"{show_score(status.best)} {status.metric}"
    return UnitBoard(
        task=unit.task,
        method=unit.method,
        color=assign_styles(study.methods)[unit.method].color,
        state=_name_state(status),
        phase=_PHASE_WORDS[status.phase],
        status=status,
        shards=tuple(n for n, tasks in study.settings.shards.items() if unit.task in tasks),
        best=best,
        left="" if not status.seconds_left else format_duration(status.seconds_left),
        live=tuple(_build_row(study, unit, run) for run in live),
        drawings=_draw_live(study, unit, live),
        failures=tuple(_list_failures(unit)),
        version=version,
    )


def build_board(
    study: Study, boards: Sequence[UnitBoard], units: Sequence[UnitEvidence], note: str = ""
) -> Board:
    """Returns the page of a study from its units, and the same as they were read.

    Args:
        study: The study.
        boards: Its units as they are shown.
        units: The same units as they were read.
        note: What else there is to say.
    """
    tasks = dict.fromkeys(unit.task for unit in units)
    found = [_find_best([unit for unit in units if unit.task == task]) for task in tasks]
    return Board(
        name=study.settings.name,
        description=study.settings.description,
        units=tuple(boards),
        best=tuple(each for each in found if each is not None),
        verdict=_read_verdict(study) if all(b.state == "done" for b in boards) else (),
        notes=(*filter(None, [note]), *(text for unit in units for text in unit.notes)),
    )


def describe_settings(run: RunRecord | LiveRun) -> tuple[tuple[str, str], ...]:
    """Returns the hyperparameters of a run that have an effect, as (name, value)."""
    config = run.config
    values = meaningful_hyperparameters(config.hyperparameters, config.unit_config.method)
    return tuple(
        (name, f"{value:.3g}" if isinstance(value, float) else str(value))
        for name, value in values.items()
    )


def _name_state(status: UnitStatus) -> UnitState:
    if status.running:
        return "running"
    if status.phase in ("done", "waiting"):
        return "done" if status.phase == "done" else "waiting"
    return "stopped"


def _link(unit: UnitEvidence, run: RunRecord | LiveRun) -> RunLink:
    return RunLink(unit.task, unit.method, run.config.phase, run.config.name)


def _build_row(study: Study, unit: UnitEvidence, run: LiveRun) -> LiveRow:
    left = None if run.seconds is None else run.seconds * (1 - run.step / run.last_step)
    words = "" if left is None else f"{format_duration(left)} left"
    if run.step == run.last_step:
        words = "final scores"
    space = study.parameters_of(unit.method)
    searched = {name for name, each in space.items() if not isinstance(each, FixedParameter)}
    settings = tuple(each for each in describe_settings(run) if each[0] in searched)
    return LiveRow(_link(unit, run), run.step, run.last_step, words, settings)


def _draw_live(study: Study, unit: UnitEvidence, live: Sequence[LiveRun]) -> tuple[Drawing, ...]:
    if not live:
        return ()
    ended = unit.records.get(live[0].config.phase, ())
    runs: Sequence[RunRecord | LiveRun] = [
        *(record for record in ended if record.status in ("finished", "pruned")),
        *live,
    ]
    style = assign_styles(study.methods)[unit.method]
    return draw_figures(LIVE_FIGURES, runs, style, (unit.task, unit.method))


def _list_failures(unit: UnitEvidence) -> list[Failure]:
    return [
        Failure(_link(unit, record), record.status, record.message or "no reason recorded")
        for phase in PHASES
        for record in unit.records[phase]
        if record.status not in ("finished", "pruned")
    ]


def _find_best(units: Sequence[UnitEvidence]) -> Best | None:
    """Returns the best trial of a task's units; of equal ones the first."""
    known = [
        (sign * unit.optimum.best_value, unit, unit.optimum, run)
        for unit in units
        for sign in ([1.0] if unit.maximize else [-1.0])
        for run in unit.trials
        if unit.optimum is not None and run.config.index == unit.optimum.best_trial
    ]
    if not known:
        return None
    _, unit, optimum, run = max(known, key=lambda each: each[0])
    confirmed = optimum.confirmed_value
    return Best(
        task=unit.task,
        metric=optimum.metric,
        direction="higher is better" if unit.maximize else "lower is better",
        score=show_score(optimum.best_value),
        link=_link(unit, run),
        confirmed="" if confirmed is None else show_score(confirmed),
    )


def _read_verdict(study: Study) -> tuple[str, ...]:
    try:
        text = (study.settings.analysis_path / VERDICT_FILE).read_text("utf-8")
    except OSError:
        return ()
    lines = text.splitlines()
    return tuple(line for line in lines if not line.startswith(("report: ", "read first: ")))
