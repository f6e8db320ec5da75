"""The table of verdicts: every pair of methods, with all that its sentence rests on."""

from collections.abc import Callable, Sequence
from operator import attrgetter

from phasewise.formatting import MISSING, show_p
from phasewise.report.columns import Column, Table, render_csv
from phasewise.report.latex import escape_latex
from phasewise.report.pair_traces import name_pair
from phasewise.report.sentences import Scale
from phasewise.report.verdicts import ALL_TASKS, Verdict

#: Smaller p-values are shown in papers as smaller than this: their digits mean nothing.
_SMALLEST_P = 0.0001


def _found(name: str, otherwise: object = None) -> Callable[[Verdict], object]:
    """Reads a number of the paired comparison, if there is one."""
    return lambda verdict: (
        getattr(verdict.comparison, name) if verdict.comparison is not None else otherwise
    )


VERDICT_COLUMNS: tuple[Column[Verdict], ...] = (
    Column(
        "task",
        lambda verdict: verdict.task,
        {"task": attrgetter("task"), "metric": attrgetter("metric")},
        latex_heading="task",
        words=True,
    ),
    Column(
        "better",
        lambda verdict: verdict.first,
        {"better": attrgetter("first")},
        latex_heading="better",
        words=True,
    ),
    Column(
        "other",
        lambda verdict: verdict.second,
        {"other": attrgetter("second")},
        latex_heading="other",
        words=True,
    ),
    Column(
        "verdict",
        lambda verdict: _name_verdict(verdict),
        {"verdict": lambda verdict: _name_verdict(verdict)},
        name_pair,
        latex_heading="verdict",
        words=True,
    ),
    Column(
        "difference",
        lambda verdict: _show_difference(verdict, unit=True),
        {
            "difference": _found("mean"),
            "difference_interval": _found("interval"),
            "bootstrap_interval": attrgetter("bootstrap"),
        },
        name_pair,
        latex_heading="difference",
        latex=lambda verdict: escape_latex(_show_difference(verdict)),
    ),
    Column(
        "p, Holm",
        lambda verdict: show_p(verdict.holm_p),
        {"holm_p": attrgetter("holm_p")},
        name_pair,
        latex_heading="$p$, Holm",
        latex=lambda verdict: escape_latex(_show_corrected(verdict.holm_p)),
    ),
    Column(
        "p",
        lambda verdict: show_p(verdict.comparison and verdict.comparison.p_value),
        {"p_value": _found("p_value")},
        name_pair,
    ),
    Column(
        "p, sign flip",
        lambda verdict: _show_sign_flip(verdict),
        {"sign_flip_p": _found("sign_flip_p"), "welch_p": attrgetter("welch_p")},
        name_pair,
    ),
    Column(
        "P(better > other)",
        lambda verdict: _show_superiority(verdict),
        {
            "chance": attrgetter("prob_superiority"),
            "chance_interval": attrgetter("prob_superiority_interval"),
        },
        name_pair,
        latex_heading="$P(A>B)$",
        latex=lambda verdict: f"{verdict.prob_superiority:.2f}",
    ),
    Column(
        "smallest detectable",
        lambda verdict: _show_detectable(verdict),
        {"detectable": _found("detectable")},
        name_pair,
        latex_heading="MDD",
    ),
    Column(
        "seeds",
        lambda verdict: str(_found("seeds", 0)(verdict)),
        {"seeds": _found("seeds", 0)},
        name_pair,
    ),
    Column(
        "examples",
        lambda verdict: str(_found("examples")(verdict) or MISSING),
        {"examples": _found("examples")},
        name_pair,
    ),
)


def build_verdict_table(verdicts: Sequence[Verdict]) -> Table[Verdict]:
    """Returns every pair of methods, pooled over the tasks first."""
    pooled_first = sorted(verdicts, key=lambda verdict: verdict.task != ALL_TASKS)
    return Table(VERDICT_COLUMNS, tuple(pooled_first), grouped=True)


def render_verdicts(verdicts: Sequence[Verdict]) -> str:
    """Returns all numbers of the verdicts as CSV, in the order given."""
    return render_csv(VERDICT_COLUMNS, verdicts)


def _show_difference(verdict: Verdict, *, unit: bool = False) -> str:
    found, scale = verdict.comparison, Scale(verdict)
    if found is None:
        return MISSING
    span = f" {scale.show_interval(found.interval)}" if found.interval and found.has_spread else ""
    return f"{scale.show(found.mean)}{span}" + (scale.unit if unit else "")


def _show_corrected(p: float | None) -> str:
    return f"<{_SMALLEST_P}" if p is not None and p < _SMALLEST_P else show_p(p)


def _show_sign_flip(verdict: Verdict) -> str:
    """With few pairs it cannot reach the level, whatever they show."""
    found = verdict.comparison
    shown = show_p(found and found.sign_flip_p)
    if found is None or found.smallest_p is None or found.can_reach_level:
        return shown
    return f"{shown} (least {show_p(found.smallest_p)})"


def _show_superiority(verdict: Verdict) -> str:
    interval = verdict.prob_superiority_interval
    span = "" if interval is None else f" [{interval.low:.2f}, {interval.high:.2f}]"
    return f"{verdict.prob_superiority:.2f}{span}"


def _show_detectable(verdict: Verdict) -> str:
    found = verdict.comparison
    if found is None or found.interval is None or not found.has_spread:
        return MISSING
    if found.detectable is None:
        return "none"  # no two scores are so far apart
    return Scale(verdict).show(found.detectable)


def _name_verdict(verdict: Verdict) -> str:
    if verdict.comparison is None or verdict.comparison.interval is None:
        return "not judged"
    return "beats" if verdict.beats else "cannot be told apart"
