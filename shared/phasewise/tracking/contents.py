"""What is told of a run: its configuration, a row per optimizer step, tags and summary."""

import math
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from phasewise.records import Evaluation, RunRecord, TrainPoint, read_record
from phasewise.runs import RunConfig
from phasewise.settings import SearchSettings, direction_of, parse_objective

#: W&B cuts a longer tag off with an error.
_LONGEST_TAG = 64


class ObjectiveView:
    """The search's objective as runs are told with it: ``objective``, and further ones of a front.

    Args:
        search: Objective and weights.
        unit_root: Folder of the unit, where Phase 0 has left what gains are measured by.
        metric: The task's.
    """

    def __init__(self, search: SearchSettings, unit_root: Path, metric: str) -> None:
        self._search, self._root, self._metric = search, unit_root, metric

    @property
    def name(self) -> str:
        """The metric, or the names of what is weighted or traded off."""
        asked = parse_objective(self._search.objective)
        return self._metric if asked.kind == "metric" else str(self._search.objective)

    @property
    def direction(self) -> str:
        """Which way ``objective`` is better; a weighted sum is of gains."""
        asked = parse_objective(self._search.objective)
        if asked.kind == "metric":
            return direction_of(self._metric)
        return "maximize" if asked.kind == "multi" else direction_of(asked.names[0])

    def during(self, metrics: Mapping[str, float]) -> float | None:
        """Returns its value at an evaluation; None where it is known at the end only."""
        if self._is_metric:
            return metrics.get(self._metric)
        return None if self._built is None else self._built.value_during(metrics)

    def at_end(self, record: RunRecord) -> list[float]:
        """Returns its values of a finished run; none before Phase 0 has ended, for a sum."""
        if record.status != "finished":
            return []
        if self._is_metric:
            score = record.search_score
            return [] if score is None or not math.isfinite(score) else [score]
        return [] if self._built is None else self._built.told(record) or []

    @property
    def _is_metric(self) -> bool:
        return parse_objective(self._search.objective).kind == "metric"

    @cached_property
    def _built(self) -> Any:
        from phasewise.errors import PhasewiseError
        from phasewise.summaries import read_phase_summary
        from phasewise.tuning.objectives import build_objective  # brings SciPy

        try:
            summary = read_phase_summary(self._root / "phase0.json")
            if summary is None:
                return None
            found = [read_record(self._root / run) for run in summary.runs]
            defaults = [record for record in found if record is not None]
            return build_objective(self._search, self._metric, defaults, summary.search)
        except PhasewiseError:
            return None


def describe_config(config: RunConfig, run_hash: str, objective: ObjectiveView) -> dict[str, Any]:
    """Returns a run's configuration: hyperparameters flat, the rest by section."""
    unit = config.unit_config
    return {
        **config.hyperparameters.model_dump(mode="json"),
        "task": unit.task.name,
        "method": unit.method.name,
        "study": unit.study,
        "phase": config.phase,
        "role": config.role,
        "trial_number": config.index if config.role in ("trial", "confirm") else None,
        "index": config.index,
        "origin": config.origin,
        "objective_name": objective.name,
        "objective_direction": objective.direction,
        "seeds": config.seeds.model_dump(mode="json"),
        "hash": run_hash,
        "model": unit.model.model_dump(mode="json"),
        "task_settings": unit.task.model_dump(mode="json"),
        "method_settings": unit.method.model_dump(mode="json"),
        "training": unit.training.model_dump(mode="json"),
    }


def describe_end(record: RunRecord) -> dict[str, Any]:
    """Returns what a run's configuration gains at its end."""
    return {
        "environment": record.environment,
        "started": record.started,
        "ended": record.ended,
    }


def list_steps(
    points: Iterable[TrainPoint], evaluations: Iterable[Evaluation], objective: ObjectiveView
) -> list[tuple[int, dict[str, float]]]:
    """Returns (optimizer step, metrics) in order; a step is listed once, as W&B demands."""
    steps: dict[int, dict[str, float]] = {}
    for point in points:
        row = steps.setdefault(point.step, {})
        row |= {"train/loss": point.loss, "train/learning_rate": point.learning_rate}
    for evaluation in evaluations:
        row = steps.setdefault(evaluation.step, {})
        row |= {"epoch": evaluation.epoch}
        row |= {f"search/{name}": value for name, value in evaluation.metrics.items()}
        row |= {f"train/{name}": value for name, value in evaluation.train_metrics.items()}
        if evaluation.train_loss is not None:
            row["train/mean_loss"] = evaluation.train_loss
        value = objective.during(evaluation.metrics)
        if value is not None:
            row["objective"] = value
    return sorted(steps.items())


def spread_times(record: RunRecord) -> Callable[[int], float]:
    """Returns step -> seconds since 1970, as if a run's steps had been even; records have none."""
    begin, end = (datetime.fromisoformat(t).timestamp() for t in (record.started, record.ended))
    trained = [point.step for point in record.train_points[-1:]]
    last = max(trained + [each.step for each in record.evaluations[-1:]], default=1)
    return lambda step: begin + (end - begin) * step / last


def list_tags(config: RunConfig, *more: str) -> list[str]:
    """Returns study, task, method, phase, role and ``more``, each cut to what W&B takes."""
    unit = config.unit_config
    tags = (unit.study, unit.task.name, unit.method.name, config.phase, config.role, *more)
    return sorted({tag[:_LONGEST_TAG] for tag in tags})


def job_type(config: RunConfig) -> str:
    """Returns the phase; confirmations have their own, so that trials can be filtered for."""
    return "confirm" if config.role == "confirm" else config.phase


def describe_summary(record: RunRecord, objective: ObjectiveView) -> dict[str, Any]:
    """Returns what W&B lists for a run: status, final metrics and cost."""
    summary: dict[str, Any] = {"status": record.status, "message": record.message}
    for place, value in enumerate(objective.at_end(record), 1):
        summary["objective" if place == 1 else f"objective_{place}"] = value
    summary |= {f"final/search/{name}": value for name, value in record.search_metrics.items()}
    summary |= {f"final/report/{name}": value for name, value in record.report_metrics.items()}
    if record.cost is not None:
        cost = record.cost.model_dump(mode="json", exclude_none=True)
        summary |= {f"cost/{name}": value for name, value in cost.items()}
    return summary
