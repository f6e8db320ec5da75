"""Whether a unit has learned anything: whether it beats an answer that needs no training."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import scipy

from phasewise.formatting import show_count, show_interval, show_score
from phasewise.statistics import LEVEL, Interval, share_standard_error
from phasewise.summaries import Baseline, TaskBaselines

#: A mean of equal scores may differ from them by this much.
_ROUNDING = 1e-9
#: What is proposed where nothing was learned: so many times the rows, steps and learning rate; of a
#: rate at which some seeds collapse, a third.
_MORE_ROWS, _MORE_STEPS, _RATE_FACTOR = 4, 4, 3


@dataclass(frozen=True)
class Effort:
    """What a unit was trained with; None where it is not known."""

    train_rows: int
    epochs: float | None = None
    batch_size: int | None = None
    learning_rate: float | None = None

    @property
    def steps(self) -> int | None:
        """Optimizer steps of one run."""
        if self.epochs is None or not self.batch_size:
            return None
        return max(1, round(math.ceil(self.train_rows / self.batch_size) * self.epochs))


@dataclass(frozen=True)
class Learning:
    """A unit held against its floor: the majority class, or the untuned model."""

    task: str
    method: str
    learned: bool
    found: str  # what was measured, in words
    floor: str  # in words
    floor_score: float
    effort: Effort
    noise: float | None = None  # that the gain had to exceed; None: the interval holds it
    unstable: bool = False  # single runs beat the floor, others with the same settings did not
    constant: str = ""  # the only class it ever answers, or that it answers like one

    def describe(self) -> str:
        """Returns what was found and, if it has not learned, what may help."""
        floor = f"{self.floor} ({show_score(self.floor_score)})"
        found = f"{self.task}: {self.method} has "
        if self.learned:
            return f"{found}learned: {self.found} beats {floor}."
        by = "" if self.noise is None else f" by more than noise ({show_score(self.noise)})"
        constant = f" {self.constant}" if self.constant else ""
        return (
            f"{found}not learned: {self.found} does not beat {floor}{by}.{constant} "
            f"{describe_remedies(self.effort, unstable=self.unstable)}"
        )


@dataclass(frozen=True)
class SearchOutcome:
    """The best configuration of a search, on the search set."""

    value: float  # of the best trial
    trials: int  # that it is the best of
    confirmed: float | None  # mean on fresh seeds
    confirmed_error: float | None  # its standard error
    confirmed_seeds: int
    sampling_error: float | None  # of one score, from the size of the search set
    seed_sd: float | None  # of the published default


def find_floor(baselines: TaskBaselines) -> Baseline | None:
    """Returns the majority class; where that is not defined, the untuned model."""
    scored = {each.name: each for each in baselines.baselines if each.report_score is not None}
    return scored.get("majority") or scored.get("zero_shot")


def judge_seeds(
    unit: tuple[str, str],
    baselines: TaskBaselines,
    scores: Sequence[float],
    interval: Interval | None,
    *,
    maximize: bool,
    hyperparameters: Mapping[str, Any],
    find_constant: Callable[[], str],
) -> Learning | None:
    """Judges Phase 2: a unit has learned if its whole 95 % interval is better than its floor.

    Args:
        unit: Task and method.
        baselines: Of the task.
        scores: On the report set, one per seed; with a single one the score itself counts.
        interval: Of their mean, 95 %; see `find_score_interval`.
        maximize: Whether a higher score is better.
        hyperparameters: What was trained.
        find_constant: Gives the only class that was ever answered, or nothing.

    Returns:
        None without a score or a floor.
    """
    floor = find_floor(baselines)
    if floor is None or floor.report_score is None or not scores:
        return None
    mean = sum(scores) / len(scores)
    low, high = interval or Interval(mean, mean)
    gain = low - floor.report_score if maximize else floor.report_score - high
    seeds = "one seed" if len(scores) == 1 else f"{len(scores)} seeds"
    shown = " ".join(filter(None, [show_score(mean), show_interval(interval)]))
    learned = gain > _ROUNDING
    constant = "" if learned else find_constant()
    error = share_standard_error(floor.report_score, baselines.report_rows) if maximize else None
    best = max(scores) - floor.report_score
    return Learning(
        *unit,
        learned=learned,
        found=f"{baselines.metric} {shown} over {seeds}",
        floor=floor.note or "the majority class",
        floor_score=floor.report_score,
        effort=_find_effort(baselines, hyperparameters),
        unstable=not learned and _stands_out(best, error, len(scores)),
        constant=f"Every run answers '{constant}' to every example." if constant else "",
    )


def judge_search(
    unit: tuple[str, str],
    baselines: TaskBaselines,
    found: SearchOutcome,
    *,
    maximize: bool,
    hyperparameters: Mapping[str, Any],
) -> Learning | None:
    """Judges Phase 1: the best score must beat the floor by more than noise.

    Noise is what a score without any gain stays below in 97.5 % of cases: normal, from the size of
    the search set and the seeds; of unconfirmed trials the best of so many (Bonferroni).

    Returns:
        None without a floor or a noise.
    """
    floor = find_floor(baselines)
    errors = [
        found.sampling_error,
        found.seed_sd if found.confirmed is None else found.confirmed_error,
    ]
    known = [error for error in errors if error is not None]
    if floor is None or floor.search_score is None or not known:
        return None
    looks = found.trials if found.confirmed is None else 1
    noise = _noise(math.hypot(*known), looks)
    reached = found.value if found.confirmed is None else found.confirmed
    sign = 1 if maximize else -1
    gain = (reached - floor.search_score) * sign
    learned, best = gain > noise, (found.value - floor.search_score) * sign
    repeated = found.confirmed is not None
    words = f"{baselines.metric} {show_score(found.value)} of the best trial on the search set"
    if found.confirmed is not None:
        words += f" ({show_score(found.confirmed)} on {found.confirmed_seeds} fresh seeds)"
    same = maximize and abs(gain) < _ROUNDING and floor.name == "majority"
    return Learning(
        *unit,
        learned=learned,
        found=words,
        floor=floor.note or "the majority class",
        floor_score=floor.search_score,
        effort=_find_effort(baselines, hyperparameters),
        unstable=not learned and repeated and _stands_out(best, found.sampling_error, found.trials),
        noise=noise,
        constant="It scores exactly what one class for every example scores." if same else "",
    )


def describe_remedies(effort: Effort, *, unstable: bool = False) -> str:
    """Returns what to change, with the numbers that were and those to try."""
    rows = f"more training rows ({_MORE_ROWS * effort.train_rows}, now {effort.train_rows})"
    if unstable:
        return (
            "Single runs beat it, others with the same settings did not: training is unstable. "
            f"Try {_describe_rate(effort, 'lower', 1 / _RATE_FACTOR)}, a longer warmup or {rows}."
        )
    steps = "more steps"
    if effort.steps is not None and effort.epochs is not None:
        epochs = f"{_MORE_STEPS * effort.epochs:g} epochs, now {effort.epochs:g}"
        steps += f" ({epochs}, which are {show_count(effort.steps)} steps)"
    return f"Try {rows}, {steps} or {_describe_rate(effort, 'higher', _RATE_FACTOR)}."


def _describe_rate(effort: Effort, way: str, factor: float) -> str:
    rate, words = effort.learning_rate, f"a {way} learning rate"
    return words if rate is None else f"{words} ({factor * rate:.2g}, now {rate:.2g})"


def _noise(error: float, looks: int) -> float:
    """Returns what the best of so many scores without any gain stays below in 97.5 % of cases."""
    return float(scipy.stats.norm.isf((1 - LEVEL) / 2 / max(1, looks))) * error


def _stands_out(gain: float, error: float | None, looks: int) -> bool:
    """Whether the best of so many runs has learned, by the sampling error of its score."""
    return error is not None and gain > _noise(error, looks)


def _find_effort(baselines: TaskBaselines, hyperparameters: Mapping[str, Any]) -> Effort:
    def number(name: str) -> float | None:
        value = hyperparameters.get(name)
        return float(value) if isinstance(value, int | float) else None

    batch = number("batch_size")
    return Effort(
        train_rows=baselines.train_rows,
        epochs=number("epochs"),
        batch_size=None if batch is None else int(batch),
        learning_rate=number("learning_rate"),
    )
