"""What each run got right on the report set, example by example, as its predictions file says."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from phasewise.errors import RecordError
from phasewise.records import RunRecord
from phasewise.runs import baseline_predictions_path
from phasewise.settings import METRICS, Study
from phasewise.statistics import (
    Interval,
    bounded_interval,
    compare_crossed,
    find_bounds,
    mean_interval,
)
from phasewise.summaries import Baseline
from phasewise.tasks.predictions import PREDICTIONS_FILE, read_predictions

#: More than rounding between a record's score and the mean of its predictions.
_TOLERANCE = 1e-6

#: init, order and subset: runs of two methods with equal keys are paired.
SeedKey = tuple[int, int, int]
Values = Mapping[str, float]
#: What an interval allows for: other seeds and other examples, or other seeds only.
IntervalOf = Literal["seeds and examples", "seeds"]


def read_example_values(
    runs: Mapping[SeedKey, RunRecord], folder: Path
) -> tuple[dict[SeedKey, Values], str]:
    """Returns example id to value for each finished run, and why there are none.

    Args:
        runs: Finished runs of one configuration by their seeds.
        folder: Of the unit, in which the phases' folders lie.

    Returns:
        All seeds or none of them: ``({}, reason)`` where the metric is no mean over examples, or
        a file is missing, unreadable, or not what its record was scored on.
    """
    values: dict[SeedKey, Values] = {}
    for key, record in runs.items():
        task = record.config.unit_config.task
        field = METRICS[task.metric].kinds[task.kind]
        if field is None:
            return {}, f"{task.metric} is no mean over examples"
        path = _predictions_file(record, folder)
        if not path.is_file():
            return {}, f"{record.config.unit_config.method.name} lacks predictions"
        try:
            found = {row.id: float(getattr(row, field)) for row in read_predictions(path)}
        except RecordError as error:
            return {}, str(error)
        if not _agrees(record.report_score, found):
            return {}, f"{path} does not give the score of its record"
        values[key] = found
    return values, ""


def read_baseline_values(study: Study, task: str, baseline: Baseline) -> Values:
    """Returns example id to what a baseline got for it on the report set; empty if not known."""
    settings = study.tasks[task]
    field = METRICS[settings.metric].kinds[settings.kind]
    path = baseline_predictions_path(study, task, baseline.name)
    if field is None or not path.is_file():
        return {}
    try:
        found = {row.id: float(getattr(row, field)) for row in read_predictions(path)}
    except RecordError:
        return {}
    return found if _agrees(baseline.report_score, found) else {}


def tabulate(values: Sequence[Values]) -> NDArray[np.float64] | None:
    """Returns (runs, examples), examples in the order of the first run; None if they differ."""
    if not values or any(each.keys() != values[0].keys() for each in values):
        return None
    return np.array([[each[name] for name in values[0]] for each in values])


def find_score_interval(
    metric: str, scores: Sequence[float], values: Sequence[Values]
) -> tuple[Interval | None, IntervalOf]:
    """Returns the 95 % interval of the mean over runs, and what it allows for.

    Seeds and examples are crossed random effects, as in the verdict; without usable predictions
    it is that over the seeds.

    Args:
        metric: Of the scores; no interval leaves its range.
        scores: One per run.
        values: Example id to value, one mapping per run; empty where they are not known.
    """
    bounds = find_bounds(metric)
    table = tabulate(values)
    if table is None or len(table) != len(scores):
        return mean_interval(scores, bounds), "seeds"
    found = compare_crossed(table, np.zeros_like(table), bounds=bounds)
    error, freedom = found.standard_error, found.degrees_of_freedom
    if error is None or freedom is None:
        return None, "seeds and examples"
    interval = bounded_interval(found.mean, error, freedom, bounds, examples=table.shape[1])
    return interval, "seeds and examples"


def find_constant(runs: Sequence[RunRecord], folder: Path) -> str:
    """Returns the one class that every run gave to every example of the report set.

    Args:
        runs: Finished runs of one configuration.
        folder: Of the unit, in which the phases' folders lie.

    Returns:
        Empty if there are two classes, no run, or a file that cannot be read.
    """
    given = set[str]()
    for record in runs:
        if not record.config.unit_config.task.traits.has_classes:
            return ""
        try:
            rows = read_predictions(_predictions_file(record, folder))
        except RecordError:
            return ""
        given |= {row.prediction for row in rows}
    return given.pop() if len(given) == 1 else ""


def _predictions_file(record: RunRecord, folder: Path) -> Path:
    return folder / record.config.phase / record.config.name / PREDICTIONS_FILE


def _agrees(score: float | None, found: Values) -> bool:
    if not found or score is None:
        return False
    return abs(fmean(found.values()) - score) < _TOLERANCE
