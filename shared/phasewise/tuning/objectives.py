"""The value of a trial: the task's metric, a normalized weighted sum, or a point of a front.

A weighted sum of a loss and an accuracy means nothing as it stands: one is better low, the other
high, and their scales differ. Here each component is its relative gain on the published
default, sign(direction) * (x - default) / |default|, so that 0.1 says "a tenth better than the
default" for every one of them, and the weights, which are made to add up to 1, weigh like with
like.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from phasewise.errors import ConfigError
from phasewise.records import RunCost, RunRecord
from phasewise.settings import ObjectiveKind, SearchSettings, direction_of, parse_objective
from phasewise.statistics import summarize_scores
from phasewise.summaries import ScoreSummary

_MEASURES: dict[str, Callable[[RunCost], float | None]] = {
    "train_seconds": lambda cost: cost.train_seconds,
    "memory_gb": lambda cost: None if cost.peak_memory_mb is None else cost.peak_memory_mb / 1e3,
    "adapter_mb": lambda cost: None if cost.adapter_bytes is None else cost.adapter_bytes / 1e6,
    "trainable_parameters": lambda cost: float(cost.trainable_parameters),
}


@dataclass(frozen=True)
class Component:
    """One metric or cost.

    Attributes:
        name: As in ``search.objective``.
        weight: Share of the sum; all of an objective's add up to 1.
        reference: Its mean over the runs of the published default.
    """

    name: str
    weight: float
    reference: float

    @property
    def direction(self) -> Literal["maximize", "minimize"]:
        """Which way it is better."""
        return direction_of(self.name)

    @property
    def sign(self) -> float:
        """+1 if higher is better, else -1."""
        return 1.0 if self.direction == "maximize" else -1.0

    def gain(self, value: float) -> float:
        """Returns the relative gain on the default; absolute where the default is 0."""
        return self.sign * (value - self.reference) / (abs(self.reference) or 1.0)


@dataclass(frozen=True)
class Objective:
    """What one search optimizes.

    Attributes:
        kind: ``metric``: one component. ``multi``: their weighted gains. ``pareto``: each alone.
        components: The first decides where one number is needed of a front.
        baseline: Of the published default's runs, on the scale of ``value``.
    """

    kind: ObjectiveKind
    components: tuple[Component, ...]
    baseline: ScoreSummary

    @property
    def name(self) -> str:
        """What ``value`` is called: a metric, or ``multi:a,b``."""
        if self.kind == "multi":
            return "multi:" + ",".join(c.name for c in self.components)
        return self.components[0].name

    @property
    def direction(self) -> Literal["maximize", "minimize"]:
        """Which way ``value`` is better."""
        return "maximize" if self.kind == "multi" else self.components[0].direction

    @property
    def sign(self) -> float:
        """+1 if a higher ``value`` is better, else -1."""
        return 1.0 if self.direction == "maximize" else -1.0

    @property
    def directions(self) -> list[Literal["maximize", "minimize"]]:
        """Of what Optuna is told."""
        if self.kind == "pareto":
            return [component.direction for component in self.components]
        return [self.direction]

    @property
    def is_metric(self) -> bool:
        """Whether values are a metric itself, with its sampling error."""
        return self.kind != "multi" and self.components[0].name not in _MEASURES

    def told(self, record: RunRecord) -> list[float] | None:
        """Returns what Optuna is told of a finished run; None if a part is missing or not finite.

        For a front one number a component, else the single value.
        """
        parts = [measure(record, component.name) for component in self.components]
        values = [part for part in parts if part is not None and math.isfinite(part)]
        if len(values) < len(parts):
            return None
        return [self._combine(values)] if self.kind == "multi" else values

    def value(self, record: RunRecord) -> float | None:
        """Returns the one number that candidates are ranked by; None as in ``told``."""
        told = self.told(record)
        return None if told is None else told[0]

    def value_during(self, metrics: Mapping[str, float]) -> float | None:
        """Returns the value at an evaluation within a run, for the pruner.

        None for a front, which no pruner handles, and where a cost is part of the sum: it is
        known at the end only.
        """
        if self.kind == "pareto" or not all(c.name in metrics for c in self.components):
            return None
        values = [metrics[c.name] for c in self.components]
        return self._combine(values) if self.kind == "multi" else values[0]

    def describe(self) -> str:
        """Returns the objective in words: directions, weights, scale."""
        parts = [f"{c.name} ({c.direction})" for c in self.components]
        if self.kind == "metric":
            return parts[0]
        if self.kind == "pareto":
            return f"Pareto front of {', '.join(parts)}; no pruning"
        shown = " + ".join(
            f"{c.weight:.3g} x gain of {p}" for c, p in zip(self.components, parts, strict=True)
        )
        return f"{shown}; a gain is relative to the published default's mean"

    def _combine(self, values: Sequence[float]) -> float:
        pairs = zip(self.components, values, strict=True)
        return sum(component.weight * component.gain(value) for component, value in pairs)


def measure(record: RunRecord, name: str) -> float | None:
    """Returns a metric on the search set, or a cost, of a run; None if it has none."""
    if name not in _MEASURES:
        return record.search_metrics.get(name)
    return None if record.cost is None else _MEASURES[name](record.cost)


def build_objective(
    search: SearchSettings, metric: str, defaults: Sequence[RunRecord], baseline: ScoreSummary
) -> Objective:
    """Returns the objective of a unit's search.

    Args:
        search: Objective and weights.
        metric: The task's.
        defaults: Records of Phase 0's finished runs of the published default.
        baseline: Their summary by the task's metric.

    Raises:
        ConfigError: Phase 0 did not measure one of the components.
    """
    asked = parse_objective(search.objective)
    if asked.kind == "metric":
        return Objective("metric", (Component(metric, 1.0, baseline.mean or 0.0),), baseline)
    weights = search.objective_weights or (1.0,) * len(asked.names)
    components = tuple(
        Component(name, weight / sum(weights), _mean(defaults, name))
        for name, weight in zip(asked.names, weights, strict=True)
    )
    draft = Objective(asked.kind, components, baseline)
    values = [value for record in defaults if (value := draft.value(record)) is not None]
    return Objective(asked.kind, components, summarize_scores(values))


def pareto_front(points: Sequence[Sequence[float]], signs: Sequence[float]) -> list[int]:
    """Returns the positions of the points that no other one dominates, in order.

    A point dominates another that is better in nothing and worse in something; of equal points all
    are kept.

    Args:
        points: Shape (points, objectives), finite.
        signs: Shape (objectives,): +1 where higher is better, else -1.
    """
    oriented = [[s * v for s, v in zip(signs, point, strict=True)] for point in points]

    def dominated(point: list[float]) -> bool:
        return any(
            all(a >= b for a, b in zip(other, point, strict=True)) and other != point
            for other in oriented
        )

    return [index for index, point in enumerate(oriented) if not dominated(point)]


def _mean(records: Sequence[RunRecord], name: str) -> float:
    values = [value for record in records if (value := measure(record, name)) is not None]
    if not values:
        raise ConfigError(
            f"search.objective: Phase 0's runs of the default have no '{name}', which gains are "
            "measured by; choose another"
        )
    return sum(values) / len(values)
