"""The table of verdicts: every pair of methods, with all that its sentence rests on."""

from collections.abc import Sequence
from dataclasses import dataclass

from phasewise.formatting import MISSING, show_p
from phasewise.report.pair_traces import name_pair
from phasewise.report.sentences import Scale
from phasewise.report.tables import Table
from phasewise.report.verdicts import ALL_TASKS, Verdict
from phasewise.statistics import Interval

VERDICT_COLUMNS = (
    "task",
    "better",
    "other",
    "verdict",
    "difference",
    "p, Holm",
    "p",
    "p, sign flip",
    "P(better > other)",
    "smallest detectable",
    "seeds",
    "examples",
)


@dataclass(frozen=True)
class VerdictRow:
    """One verdict for the CSV; differences on the scale of the metric."""

    task: str
    metric: str
    better: str
    other: str
    verdict: str
    difference: float | None
    difference_interval: Interval | None
    bootstrap_interval: Interval | None
    holm_p: float | None
    p_value: float | None
    sign_flip_p: float | None
    welch_p: float | None
    chance: float
    chance_interval: Interval | None
    detectable: float | None
    seeds: int
    examples: int | None


def build_verdict_row(verdict: Verdict) -> VerdictRow:
    """Returns all numbers of a verdict, None where there is none."""
    found = verdict.comparison
    return VerdictRow(
        task=verdict.task,
        metric=verdict.metric,
        better=verdict.first,
        other=verdict.second,
        verdict=_name_verdict(verdict),
        difference=found.mean if found else None,
        difference_interval=found.interval if found else None,
        bootstrap_interval=verdict.bootstrap,
        holm_p=verdict.holm_p,
        p_value=found.p_value if found else None,
        sign_flip_p=found.sign_flip_p if found else None,
        welch_p=verdict.welch_p,
        chance=verdict.prob_superiority,
        chance_interval=verdict.prob_superiority_interval,
        detectable=found.detectable if found else None,
        seeds=found.seeds if found else 0,
        examples=found.examples if found else None,
    )


def build_verdict_table(verdicts: Sequence[Verdict]) -> Table:
    """Returns every pair of methods, pooled over the tasks first."""
    pooled_first = sorted(verdicts, key=lambda verdict: verdict.task != ALL_TASKS)
    cells = tuple(_verdict_cells(verdict) for verdict in pooled_first)
    targets = {
        (index, column): f"#{name_pair(verdict)}"
        for index, verdict in enumerate(pooled_first)
        for column in VERDICT_COLUMNS[3:]
    }
    return Table(VERDICT_COLUMNS, cells, words=4, grouped=True, targets=targets)


def _verdict_cells(verdict: Verdict) -> tuple[str, ...]:
    row, scale = build_verdict_row(verdict), Scale(verdict)
    difference = MISSING
    if row.difference is not None:
        interval = row.difference_interval
        span = "" if interval is None else f" {scale.show_interval(interval)}"
        difference = f"{scale.show(row.difference)}{span} {scale.unit}"
    span = "" if row.chance_interval is None else " [{:.2f}, {:.2f}]".format(*row.chance_interval)
    return (
        row.task,
        row.better,
        row.other,
        row.verdict,
        difference,
        show_p(row.holm_p),
        show_p(row.p_value),
        show_p(row.sign_flip_p),
        f"{row.chance:.2f}{span}",
        MISSING if row.detectable is None else scale.show(row.detectable),
        str(row.seeds),
        MISSING if row.examples is None else str(row.examples),
    )


def _name_verdict(verdict: Verdict) -> str:
    if verdict.comparison is None or verdict.comparison.interval is None:
        return "not judged"
    return "beats" if verdict.beats else "cannot be told apart"
