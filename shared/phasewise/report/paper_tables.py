"""The report's main tables for a paper: scores, costs and verdicts, with their captions."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from phasewise.formatting import show_interval, show_score
from phasewise.report.columns import Column, Table
from phasewise.report.latex import escape_latex, render_latex
from phasewise.report.unit_table import LATEX_NOT_LEARNED, UNIT_COLUMNS, UnitRow
from phasewise.report.verdict_table import build_verdict_table
from phasewise.report.verdicts import ALL_TASKS, Verdict

_NOT_LEARNED = (
    rf"{LATEX_NOT_LEARNED} has not learned: not shown to beat the majority class, or the untuned "
    "model"
)
_TIED = r"$^{\dagger}$"
_SCORES = (
    r"mean report score over seeds with its 95\,\% interval and the number of "
    r"runs. Intervals allow for other seeds and examples ($^{*}$ other seeds only). Bold: the "
    rf"best mean of a task; {_TIED} not told apart from it at 5\,\% after Holm's correction; "
    rf"{_NOT_LEARNED}."
)
_COSTS = (
    "cost of one training run (medians over the finished runs) beside the mean report score; "
    rf"{_NOT_LEARNED}."
)
_VERDICTS = (
    "every pair of methods on the same seeds and examples. Difference: better minus other with its "
    r"95\,\% interval; $p$ corrected for all comparisons; $P(A>B)$: one run of the better against "
    "one of the other; MDD: the true difference that 8 of 10 such studies would find; "
    rf"{_NOT_LEARNED}."
)
#: The units of one task, by method.
TaskRow = Mapping[str, UnitRow]


def build_latex_tables(
    name: str, rows: Sequence[UnitRow], verdicts: Sequence[Verdict]
) -> dict[str, str]:
    """Returns file stem to LaTeX: ``scores`` and ``costs``, and ``verdicts`` if there are any.

    Args:
        name: Of the study, for labels.
        rows: Units in the order of the tables.
        verdicts: All of the report.
    """
    scores, costs = _build_scores(rows, verdicts), Table(UNIT_COLUMNS, tuple(rows), grouped=True)
    tables = {
        "scores": render_latex(scores, caption=_caption(name, _SCORES), label=f"{name}-scores"),
        "costs": render_latex(costs, caption=_caption(name, _COSTS), label=f"{name}-costs"),
    }
    if verdicts:
        pairs, caption = _mark_pairs(rows, verdicts), _caption(name, _VERDICTS)
        tables["verdicts"] = render_latex(pairs, caption=caption, label=f"{name}-verdicts")
    return tables


def find_marks(
    rows: Sequence[UnitRow], verdicts: Sequence[Verdict]
) -> Mapping[tuple[str, str], str]:
    """Returns (task, method) to ``best`` or ``tied``; others have none.

    Best is the method with the best Phase 2 mean of a task, all of them if several share it.
    Tied are those that the verdict does not let it beat. A method alone on its task has no mark,
    nor has one that has not learned.
    """
    marks: dict[tuple[str, str], str] = {}
    for task in dict.fromkeys(row.task for row in rows):
        of_task = [row for row in rows if row.task == task and row.learned is not False]
        scored = [row for row in of_task if row.validation.mean is not None]
        if len(scored) < 2:
            continue
        means = {row.method: row.validation.mean or 0.0 for row in scored}
        choose = max if scored[0].maximize else min
        top = choose(means.values())
        best = [method for method, mean in means.items() if mean == top]
        beaten = {v.second for v in verdicts if v.task == task and v.first in best and v.beats}
        marks |= {(task, method): "tied" for method in means if method not in beaten}
        marks |= {(task, method): "best" for method in best}
    return marks


def _build_scores(rows: Sequence[UnitRow], verdicts: Sequence[Verdict]) -> Table[TaskRow]:
    """Returns one row per task, one column per method."""
    tasks, marks = dict.fromkeys(row.task for row in rows), find_marks(rows, verdicts)
    columns: list[Column[TaskRow]] = [
        Column(show=lambda row: _any(row).task, latex_heading="task", words=True),
        Column(show=lambda row: _any(row).metric, latex_heading="metric", words=True),
    ]
    columns += [
        Column(latex=_read_score(method, marks), latex_heading=escape_latex(method))
        for method in dict.fromkeys(row.method for row in rows)
    ]
    by_task = [{row.method: row for row in rows if row.task == task} for task in tasks]
    return Table(tuple(columns), tuple(by_task))


def _mark_pairs(rows: Sequence[UnitRow], verdicts: Sequence[Verdict]) -> Table[Verdict]:
    """Returns the table of verdicts with a mark on methods that have not learned."""
    lost = {(row.task, row.method) for row in rows if row.learned is False}
    lost |= {(ALL_TASKS, method) for _, method in lost}

    def mark(column: Column[Verdict]) -> Column[Verdict]:
        def show(verdict: Verdict) -> str:
            method = column.show(verdict)
            sign = LATEX_NOT_LEARNED if (verdict.task, method) in lost else ""
            return escape_latex(method) + sign

        return replace(column, latex=show) if column.heading in {"better", "other"} else column

    table = build_verdict_table(verdicts)
    return replace(table, columns=tuple(map(mark, table.columns)))


def _caption(name: str, text: str) -> str:
    return f"{escape_latex(name)}: {text}"


def _any(row: TaskRow) -> UnitRow:
    return next(iter(row.values()))


def _read_score(method: str, marks: Mapping[tuple[str, str], str]) -> Callable[[TaskRow], str]:
    return lambda row: _score_cell(row.get(method), marks.get((_any(row).task, method), ""))


def _score_cell(row: UnitRow | None, mark: str) -> str:
    if row is None or row.validation.mean is None:
        return "--"
    mean = show_score(row.validation.mean)
    shown = rf"\textbf{{{mean}}}" if mark == "best" else mean + (_TIED if mark == "tied" else "")
    shown += LATEX_NOT_LEARNED if row.learned is False else ""
    if row.validation_interval is not None:
        star = "$^{*}$" if row.interval_of == "seeds" else ""
        interval = escape_latex(show_interval(row.validation_interval))
        shown += f" {{\\footnotesize {interval}{star}}}"
    return f"{shown} ({len(row.validation.scores)})"
