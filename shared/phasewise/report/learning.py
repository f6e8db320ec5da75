"""Which units have learned nothing: their Phase 2 does not beat an answer without training."""

from dataclasses import dataclass

from phasewise.formatting import show_interval, show_score
from phasewise.report.evidence import TaskEvidence, UnitEvidence
from phasewise.report.unit_table import find_interval
from phasewise.statistics import Interval
from phasewise.summaries import Baseline, TaskBaselines

#: A mean of equal scores may differ from them by this much.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class NotLearned:
    """A unit whose interval reaches what needs no training."""

    task: str
    method: str
    metric: str
    mean: float
    interval: Interval | None  # None with a single seed: then the score itself counts
    seeds: int
    baseline: str  # in words
    baseline_score: float
    train_rows: int
    learning_rate: float | None


def find_not_learned(task: TaskEvidence) -> tuple[NotLearned, ...]:
    """Returns the task's units that have not learned, in order.

    One has if the whole 95 % interval of its Phase 2 mean is better than always giving the most
    frequent class, or than the untuned model where there are no classes. Units without a score,
    and tasks without such a baseline, are not judged.
    """
    found = task.baselines and _find_floor(task.baselines)
    if not found or not task.baselines or found.report_score is None:
        return ()
    units = [_judge(unit, found, found.report_score, task.baselines) for unit in task.units]
    return tuple(filter(None, units))


def find_learned(task: TaskEvidence) -> tuple[UnitEvidence, ...]:
    """Returns the task's units that have a score and are not known to have learned nothing."""
    lost = {each.method for each in find_not_learned(task)}
    scored = [unit for unit in task.units if unit.validation.mean is not None]
    return tuple(unit for unit in scored if unit.method not in lost)


def nobody_learned(task: TaskEvidence) -> bool:
    """Whether units have a score and all of them have learned nothing."""
    return bool(find_not_learned(task)) and not find_learned(task)


def describe_not_learned(found: NotLearned) -> str:
    """Returns what was measured and what may help, in words."""
    seeds = "one seed" if found.seeds == 1 else f"{found.seeds} seeds"
    scored = " ".join(filter(None, [show_score(found.mean), show_interval(found.interval)]))
    rate = "a higher learning rate"
    if found.learning_rate is not None:
        rate += f" than {found.learning_rate:g}"
    return (
        f"{found.task}: {found.method} has not learned: {found.metric} {scored} over {seeds} does "
        f"not beat {found.baseline} ({show_score(found.baseline_score)}). Try more training rows "
        f"(now {found.train_rows}), more steps or {rate}."
    )


def _find_floor(baselines: TaskBaselines) -> Baseline | None:
    """The majority class; where that is not defined, the untuned model."""
    scored = {each.name: each for each in baselines.baselines if each.report_score is not None}
    return scored.get("majority") or scored.get("zero_shot")


def _judge(
    unit: UnitEvidence, floor: Baseline, score: float, baselines: TaskBaselines
) -> NotLearned | None:
    mean = unit.validation.mean
    if mean is None:
        return None
    interval, _ = find_interval(unit)
    low, high = interval or Interval(mean, mean)
    gain = low - score if unit.maximize else score - high
    if gain > _ROUNDING:
        return None
    rate = unit.phase2.hyperparameters.get("learning_rate") if unit.phase2 else None
    return NotLearned(
        task=unit.task,
        method=unit.method,
        metric=unit.metric,
        mean=mean,
        interval=interval,
        seeds=len(unit.validation.scores),
        baseline=floor.note or "the majority class",
        baseline_score=score,
        train_rows=baselines.train_rows,
        learning_rate=float(rate) if isinstance(rate, int | float) else None,
    )
