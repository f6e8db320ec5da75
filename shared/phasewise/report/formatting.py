"""How the report writes numbers; every table and sentence uses these."""

from phasewise.statistics import Interval
from phasewise.summaries import ScoreSummary

MISSING = "–"


def show_score(value: float | None) -> str:
    """Returns a score with the digits that matter: 0.8125, 75.60; a dash for None."""
    if value is None:
        return MISSING
    return f"{value:.4f}" if abs(value) < 2 else f"{value:.2f}"


def show_signed(value: float | None) -> str:
    """Returns a difference with its sign."""
    if value is None:
        return MISSING
    sign = "−" if value < 0 else "+"
    return sign + show_score(abs(value))


def show_interval(interval: Interval | None, *, signed: bool = False) -> str:
    """Returns ``[0.78, 0.83]``; empty for None."""
    if interval is None:
        return ""
    show = show_signed if signed else show_score
    return f"[{show(interval.low)}, {show(interval.high)}]"


def show_spread(summary: ScoreSummary, planned: int | None = None) -> str:
    """Returns ``0.8100 ± 0.0120 (3)``: mean, SD and number of runs; says if runs are missing."""
    if summary.mean is None:
        return MISSING
    n = len(summary.scores)
    count = f"{n} of {planned}" if planned is not None and n < planned else str(n)
    spread = "" if summary.sd is None else f" ± {show_score(summary.sd)}"
    return f"{show_score(summary.mean)}{spread} ({count})"


def show_count(value: float | None) -> str:
    """Returns a large count in three digits: 295 k, 22.7 M; a dash for None."""
    if value is None:
        return MISSING
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g}"


def show_amount(value: float | None) -> str:
    """Returns a measured amount in three digits, whole numbers in full; a dash for None."""
    if value is None:
        return MISSING
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def show_p(value: float | None) -> str:
    """Returns a p-value in two digits; a dash for None."""
    return MISSING if value is None else f"{value:.2g}"


def join_words(words: list[str]) -> str:
    """Returns ``a, b and c``."""
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]])) if words else ""
