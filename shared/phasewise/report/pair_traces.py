"""How each verdict was worked out: its pairs of runs, their differences, the numbers in between."""

from collections.abc import Sequence
from dataclasses import dataclass

from phasewise.formatting import show_p, show_score
from phasewise.report.evidence import TaskEvidence, UnitEvidence
from phasewise.report.sentences import Scale
from phasewise.report.traces import name_run
from phasewise.report.verdicts import ALL_TASKS, Verdict, list_pooled


@dataclass(frozen=True)
class RunPair:
    """Two runs of the same seeds; anchors lead to their rows."""

    first: str
    second: str
    first_anchor: str
    second_anchor: str
    words: str  # 0.780 − 0.765


@dataclass(frozen=True)
class PairTrace:
    """What one verdict rests on; pooled ones rest on those of the tasks."""

    anchor: str
    title: str
    how: str
    pairs: tuple[RunPair, ...]
    parts: tuple[tuple[str, str], ...]  # task and anchor of each verdict that was pooled


def name_pair(verdict: Verdict) -> str:
    """Returns the anchor of a verdict's pairs, the same whichever method is the better."""
    task = "all" if verdict.task == ALL_TASKS else verdict.task
    return ".".join(["pair", task, *sorted([verdict.first, verdict.second])])


def trace_pairs(
    tasks: Sequence[TaskEvidence], verdicts: Sequence[Verdict]
) -> tuple[PairTrace, ...]:
    """Returns the pairs of runs behind every verdict."""
    units = {(unit.task, unit.method): unit for task in tasks for unit in task.units}
    pooled = [task.task for task in list_pooled(tasks)]
    return tuple(
        PairTrace(
            anchor=name_pair(verdict),
            title=f"{verdict.task}: {verdict.first} minus {verdict.second}",
            how=_describe(verdict),
            pairs=_pair_runs(units, verdict),
            parts=_list_parts(verdict, verdicts, pooled),
        )
        for verdict in verdicts
    )


def _pair_runs(units: dict[tuple[str, str], UnitEvidence], verdict: Verdict) -> tuple[RunPair, ...]:
    if verdict.task == ALL_TASKS:
        return ()
    left, right = (units[verdict.task, each] for each in (verdict.first, verdict.second))
    first, second = left.seed_runs(), right.seed_runs()
    return tuple(
        RunPair(
            first=record.config.name,
            second=second[key].config.name,
            first_anchor=name_run(verdict.task, verdict.first, record.config.name),
            second_anchor=name_run(verdict.task, verdict.second, second[key].config.name),
            words=f"{show_score(record.report_score)} − {show_score(second[key].report_score)}",
        )
        for key, record in first.items()
        if key in second
    )


def _list_parts(
    verdict: Verdict, verdicts: Sequence[Verdict], pooled: Sequence[str]
) -> tuple[tuple[str, str], ...]:
    if verdict.task != ALL_TASKS:
        return ()
    pair = {verdict.first, verdict.second}
    return tuple(
        (other.task, name_pair(other))
        for other in verdicts
        if other.task in pooled and {other.first, other.second} == pair
    )


def _describe(verdict: Verdict) -> str:
    """Says by which steps the verdict's numbers follow from the runs."""
    found = verdict.comparison
    if found is None:
        return "No pair of finished runs shares its seeds, so there is no paired difference."
    scale = Scale(verdict)
    unit = scale.unit
    words = f"Mean difference {scale.show(found.mean)}{unit} over {found.seeds} pairs of runs"
    if found.standard_error is None or found.interval is None:
        return f"{words}; one pair has no spread, so there is no interval."
    words += f" and {found.examples} examples" if found.examples is not None else ""
    parts = [_show_root(scale, found.seed_variance or 0.0) + " from the seeds"]
    if found.examples is not None:
        parts.append(_show_root(scale, found.example_variance) + " from the examples")
    interval = scale.show_interval(found.interval)
    return (
        f"{words}; standard error {_show_root(scale, found.standard_error**2)}{unit} "
        f"({' and '.join(parts)}, added in squares); Student's t with "
        f"{found.degrees_of_freedom or 0.0:.1f} degrees of freedom gives {interval} "
        f"and p = {show_p(found.p_value)}; Holm over {verdict.family_size} comparisons makes it "
        f"{show_p(verdict.holm_p)}. Bootstrap over seeds and examples, for comparison: "
        f"{'none' if verdict.bootstrap is None else scale.show_interval(verdict.bootstrap)}. "
        f"P({verdict.first} > {verdict.second}) = {verdict.prob_superiority:.2f} counts every run "
        "of one against every run of the other."
    )


def _show_root(scale: Scale, variance: float) -> str:
    return scale.show(float(variance**0.5), finer=True)
