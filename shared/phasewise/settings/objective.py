"""What a search optimizes: the task's metric, a weighted sum, or a Pareto front."""

from typing import Literal, NamedTuple

from phasewise.errors import suggest_nearest
from phasewise.settings.kinds import METRICS, Direction, TaskKind, metrics_of

ObjectiveKind = Literal["metric", "multi", "pareto"]

#: What a run costs, measured; less is better. Names as in objectives, see ``records.RunCost``.
COSTS = ("train_seconds", "memory_gb", "adapter_mb", "trainable_parameters")


class ObjectiveSettings(NamedTuple):
    """A parsed ``search.objective``."""

    kind: ObjectiveKind
    names: tuple[str, ...]  # metrics and costs, the most important first; none for `metric`


def parse_objective(text: str | None) -> ObjectiveSettings:
    """Returns what ``multi:a,b`` or ``pareto:a,b`` means; None is the task's metric.

    Raises:
        ValueError: Another form, or a name given twice.
    """
    if text is None:
        return ObjectiveSettings("metric", ())
    kind, colon, rest = text.partition(":")
    names = tuple(name.strip() for name in rest.split(","))
    if kind not in ("multi", "pareto") or not colon or len(names) < 2 or not all(names):
        raise ValueError(
            f"'{text}': expected multi:a,b or pareto:a,b with two or more of the task's metrics "
            f"and {', '.join(COSTS)}; a single metric is the task's `metric`"
        )
    if len(set(names)) < len(names):
        raise ValueError(f"'{text}' names one of them twice")
    return ObjectiveSettings("multi" if kind == "multi" else "pareto", names)


def check_objective_names(names: tuple[str, ...], kind: TaskKind) -> None:
    """Checks that a kind of task computes these metrics.

    Raises:
        ValueError: One is neither its metric nor a cost.
    """
    known = (*metrics_of(kind), *COSTS)
    for name in names:
        if name not in known:
            near = suggest_nearest(name, known)
            raise ValueError(f"'{name}' is neither a metric of {kind} nor a cost{near}")


def direction_of(name: str) -> Direction:
    """Returns which way a metric or cost is better."""
    return "minimize" if name in COSTS else METRICS[name].direction
