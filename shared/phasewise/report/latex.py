"""The report's main tables for a paper: booktabs, escaped, ready for ``\\input``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from phasewise.formatting import MISSING, show_amount, show_count, show_p, show_score
from phasewise.report.rows import UnitRow
from phasewise.report.sentences import Scale
from phasewise.report.verdict_table import build_verdict_row
from phasewise.report.verdicts import ALL_TASKS, SHARES, Verdict

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "−": "$-$",
    "±": r"$\pm$",
    "≥": r"$\geq$",
    "–": "--",
}
#: Smaller p-values are shown as smaller than this: their digits mean nothing.
_SMALLEST_P = 0.0001
_TIED = r"$^{\dagger}$"


@dataclass(frozen=True)
class LatexTable:
    """One floating table; cells are LaTeX already."""

    caption: str
    label: str
    alignment: str  # one letter a column
    header: tuple[str, ...]
    groups: tuple[tuple[tuple[str, ...], ...], ...]  # parted by rules


def escape_latex(text: str) -> str:
    """Returns text in which nothing is a command; signs that need math mode are in it."""
    return "".join(_SPECIAL.get(letter, letter) for letter in text)


def render_table(table: LatexTable) -> str:
    """Returns the table as LaTeX; it needs ``\\usepackage{booktabs}``."""
    groups = ["\n".join(" & ".join(row) + r" \\" for row in group) for group in table.groups]
    lines = [
        r"% Written by Phasewise; needs \usepackage{booktabs}.",
        r"\begin{table}",
        r"\centering",
        r"\small",
        rf"\caption{{{table.caption}}}",
        rf"\label{{{table.label}}}",
        rf"\begin{{tabular}}{{{table.alignment}}}",
        r"\toprule",
        " & ".join(table.header) + r" \\",
        r"\midrule",
        "\n\\midrule\n".join(groups),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def build_latex_tables(
    name: str, rows: Sequence[UnitRow], verdicts: Sequence[Verdict]
) -> dict[str, str]:
    """Returns file stem to LaTeX: ``scores`` and ``costs``, and ``verdicts`` if there are any.

    Args:
        name: Of the study, for labels.
        rows: Units in the order of the tables.
        verdicts: All of the report.
    """
    tables = {
        "scores": _build_scores(name, rows, verdicts),
        "costs": _build_costs(name, rows),
    }
    if verdicts:
        tables["verdicts"] = _build_verdicts(name, verdicts)
    return {stem: render_table(table) for stem, table in tables.items()}


def find_marks(
    rows: Sequence[UnitRow], verdicts: Sequence[Verdict]
) -> Mapping[tuple[str, str], str]:
    """Returns (task, method) to ``best`` or ``tied``; others have none.

    Best is the method with the best Phase 2 mean of a task, all of them if several share it.
    Tied are those that the verdict does not let it beat. A method alone on its task has no mark.
    """
    marks: dict[tuple[str, str], str] = {}
    for task in dict.fromkeys(row.task for row in rows):
        scored = [row for row in rows if row.task == task and row.validation.mean is not None]
        if len(scored) < 2:
            continue
        means = {row.method: row.validation.mean or 0.0 for row in scored}
        choose = max if scored[0].maximise else min
        top = choose(means.values())
        best = [method for method, mean in means.items() if mean == top]
        beaten = {v.second for v in verdicts if v.task == task and v.first in best and v.beats}
        marks |= {(task, method): "tied" for method in means if method not in beaten}
        marks |= {(task, method): "best" for method in best}
    return marks


def _build_scores(name: str, rows: Sequence[UnitRow], verdicts: Sequence[Verdict]) -> LatexTable:
    tasks, methods = (
        list(dict.fromkeys(values))
        for values in ([row.task for row in rows], [row.method for row in rows])
    )
    marks, found = find_marks(rows, verdicts), {(row.task, row.method): row for row in rows}
    body = tuple(
        (
            escape_latex(task),
            escape_latex(next(row.metric for row in rows if row.task == task)),
            *(_score_cell(found.get((task, m)), marks.get((task, m), "")) for m in methods),
        )
        for task in tasks
    )
    caption = (
        f"{escape_latex(name)}: mean report score over seeds with its 95\\,\\% interval and the "
        "number of runs; shares in points. Intervals allow for other seeds and examples ($^{*}$ "
        "other seeds only). Bold: the best mean of a task; "
        f"{_TIED} not told apart from it at 5\\,\\% after Holm's correction."
    )
    header = ("task", "metric", *map(escape_latex, methods))
    return LatexTable(caption, f"tab:{name}-scores", "ll" + "r" * len(methods), header, (body,))


def _score_cell(row: UnitRow | None, mark: str) -> str:
    if row is None or row.validation.mean is None:
        return "--"
    size = 100.0 if row.metric in SHARES else 1.0
    digits = 1 if row.metric in SHARES else 3

    def show(value: float) -> str:
        return f"{size * value:.{digits}f}"

    mean = show(row.validation.mean)
    shown = rf"\textbf{{{mean}}}" if mark == "best" else mean + (_TIED if mark == "tied" else "")
    if row.validation_interval is not None:
        star = "$^{*}$" if row.interval_of == "seeds" else ""
        low, high = map(show, row.validation_interval)
        shown += f" {{\\footnotesize [{low}, {high}]{star}}}".replace("-", "$-$")
    return f"{shown} ({len(row.validation.scores)})"


def _build_costs(name: str, rows: Sequence[UnitRow]) -> LatexTable:
    header = ("task", "method", "trainable", "s per run", "peak MB", "report score")
    groups = tuple(
        tuple(
            tuple(
                map(
                    escape_latex,
                    (
                        row.task,
                        row.method,
                        show_count(row.trainable_parameters),
                        show_amount(row.seconds),
                        show_amount(row.peak_memory_mb),
                        show_score(row.validation.mean),
                    ),
                )
            )
            for row in rows
            if row.task == task
        )
        for task in dict.fromkeys(row.task for row in rows)
    )
    caption = (
        f"{escape_latex(name)}: cost of one training run (medians over the finished runs) beside "
        "the mean report score."
    )
    return LatexTable(caption, f"tab:{name}-costs", "llrrrr", header, groups)


def _build_verdicts(name: str, verdicts: Sequence[Verdict]) -> LatexTable:
    header = ("task", "better", "other", "verdict", "difference", "$p$, Holm", "$P(A>B)$", "MDD")
    ordered = sorted(verdicts, key=lambda verdict: verdict.task != ALL_TASKS)
    groups = tuple(
        tuple(_verdict_cells(verdict) for verdict in ordered if verdict.task == task)
        for task in dict.fromkeys(verdict.task for verdict in ordered)
    )
    caption = (
        f"{escape_latex(name)}: every pair of methods on the same seeds and examples. Difference: "
        "better minus other with its 95\\,\\% interval; $p$ corrected for all comparisons; "
        "$P(A>B)$: one run of the better against one of the other; MDD: the true difference that "
        "8 of 10 such studies would find."
    )
    return LatexTable(caption, f"tab:{name}-verdicts", "llllrrrr", header, groups)


def _verdict_cells(verdict: Verdict) -> tuple[str, ...]:
    row, scale = build_verdict_row(verdict), Scale(verdict)
    difference = MISSING
    if row.difference is not None:
        span = row.difference_interval
        difference = scale.show(row.difference)
        difference += "" if span is None else f" {scale.show_interval(span)}"
    detectable = MISSING if row.detectable is None else scale.show(row.detectable)
    tiny = row.holm_p is not None and row.holm_p < _SMALLEST_P
    p = f"<{_SMALLEST_P}" if tiny else show_p(row.holm_p)
    words = (row.task, row.better, row.other, row.verdict, difference)
    return tuple(map(escape_latex, (*words, p, f"{row.chance:.2f}", detectable)))
