"""What a method gains on a baseline that needs no fine-tuning, with its interval."""

import numpy as np

from phasewise.errors import RecordError
from phasewise.example_values import read_baseline_values, tabulate
from phasewise.formatting import BASELINE_NAMES, show_interval, show_score, show_signed
from phasewise.report.evidence import TaskEvidence, UnitEvidence
from phasewise.settings import Study
from phasewise.statistics import Comparison, compare_crossed, compare_seeds, find_bounds
from phasewise.summaries import Baseline


def find_strongest(task: TaskEvidence) -> Baseline | None:
    """Returns the baseline with the best score on the report set; None without any."""
    sign = 1 if task.maximize else -1
    scored = [b for b in (task.baselines.baselines if task.baselines else ()) if _is_scored(b)]
    return max(scored, key=lambda b: sign * (b.report_score or 0.0), default=None)


def compare_with_baseline(study: Study, unit: UnitEvidence, baseline: Baseline) -> Comparison:
    """Returns unit minus baseline, positive where the unit is better.

    A baseline has one score, without a seed. Where both answers to each example are known, they
    are compared on the same examples, as two methods are; else its score is taken as given, over
    seeds and examples where the unit's answers are known.

    Raises:
        RecordError: The unit has no score.
    """
    sign, bounds = (1 if unit.maximize else -1), find_bounds(unit.metric)
    values, _ = unit.example_values
    answers = read_baseline_values(study, unit.task, baseline)
    table = tabulate([*values.values(), answers]) if answers and values else None
    if table is not None:
        table = sign * table
        return compare_crossed(table[:-1], np.tile(table[-1], (len(values), 1)), bounds=bounds)
    scores = unit.validation.scores
    if not scores or baseline.report_score is None:
        raise RecordError(f"{unit.task}/{unit.method}: no score to compare with a baseline")
    given = sign * baseline.report_score
    table = tabulate(list(values.values()))
    if table is not None:
        return compare_crossed(sign * table, np.full_like(table, given), bounds=bounds)
    others = [given] * len(scores)
    return compare_seeds([sign * score for score in scores], others, bounds=bounds)


def describe_gain(study: Study, task: TaskEvidence, best: UnitEvidence) -> list[str]:
    """Says whether the best method of a task beats the strongest baseline, and by how much."""
    strongest = find_strongest(task)
    if strongest is None or best.validation.mean is None:
        return []
    found = compare_with_baseline(study, best, strongest)
    name = f"{BASELINE_NAMES[strongest.name]} ({show_score(strongest.report_score)})"
    gain = show_signed(found.mean, found.interval)
    if found.interval is not None and found.has_spread:
        gain += f" {show_interval(found.interval)}"
        gain += " over seeds alone" if found.examples is None else ""
    if is_beaten(found):
        return [
            f"Against the strongest cheap baseline, {name}, {best.method} gains {gain}"
            + ("." if task.maximize else f" (a lower {task.metric}).")
        ]
    return [
        f"No method is shown to beat the strongest cheap baseline, {name}: the best one, "
        f"{best.method}, gains {gain}. Fine-tuning has not paid at this budget."
    ]


def is_beaten(gain: Comparison) -> bool:
    """Whether the whole interval of a gain is above zero; with one seed the gain itself counts."""
    return (gain.mean if gain.interval is None else gain.interval.low) > 0


def _is_scored(baseline: Baseline) -> bool:
    return baseline.report_score is not None
