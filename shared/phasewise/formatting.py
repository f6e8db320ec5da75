"""How numbers are written; every table, sentence and caption uses these."""

from typing import TypeVar

from phasewise.statistics import Interval
from phasewise.summaries import ScoreSummary

MISSING = "–"
T = TypeVar("T")
#: What a text begins with that a spreadsheet takes for a formula (OWASP, CSV injection).
_FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r")
BASELINE_NAMES = {
    "majority": "majority class",
    "tfidf_logistic_regression": "TF-IDF + logistic regression",
    "frozen_encoder_probe": "frozen-encoder probe",
    "zero_shot": "zero-shot",
}


def guard_cell(value: T) -> T | str:
    """Returns a CSV cell that no spreadsheet runs: a text that opens a formula gets a ' before it.

    Numbers stay as they are, written as text too.
    """
    if not isinstance(value, str) or not value.startswith(_FORMULA_SIGNS):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value


def show_score(value: float | None, *, beside: float | None = None) -> str:
    """Returns a score with the digits that matter: 0.812, 0.0088, 75.60; a dash for None.

    What is shown as zero has no sign.

    Args:
        value: A score or a difference of scores.
        beside: The score that it is the spread of: then it has that one's digits.
    """
    if value is None:
        return MISSING
    size = abs(value if beside is None else beside)
    return _show_digits(value, 2 if size >= 2 else 3 if size >= 0.1 else 4)


def show_difference(value: float, interval: Interval | None = None, *, finer: bool = False) -> str:
    """Returns a difference of scores, on their own scale: 0.056, 0.0034, 12.30.

    Args:
        value: The difference, or an end of its interval.
        interval: Of the difference: all of its numbers have the same digits.
        finer: With a digit more.
    """
    ends = (value,) if interval is None else tuple(interval)
    # Three digits, unless the interval is too narrow, or the difference too small, to be read so.
    small = abs(value) < 0.001 if interval is None else 1e-12 < interval.high - interval.low < 0.005
    digits = 2 if max(map(abs, ends)) >= 2 else 4 if small else 3
    return _show_digits(value, digits + finer)


def show_signed(value: float | None, interval: Interval | None = None) -> str:
    """Returns a difference with its sign; see ``show_difference``."""
    if value is None:
        return MISSING
    return f"{'' if value < 0 else '+'}{show_difference(value, interval)}"


def show_interval(interval: Interval | None) -> str:
    """Returns ``[0.781, 0.833]``; empty for None. A point is no interval: nothing varied."""
    if interval is not None and interval.high - interval.low < 1e-12:
        return "(no spread)"
    if interval is None:
        return ""
    return f"[{', '.join(show_difference(end, interval) for end in interval)}]"


def _show_digits(value: float, digits: int) -> str:
    shown = f"{value:.{digits}f}"
    return (shown.lstrip("-") if not shown.strip("-0.") else shown).replace("-", "−")


def show_spread(summary: ScoreSummary, planned: int | None = None) -> str:
    """Returns ``0.8100 ± 0.0120 (3)``: mean, SD and number of runs; says if runs are missing."""
    if summary.mean is None:
        return MISSING
    n = len(summary.scores)
    count = f"{n} of {planned}" if planned is not None and n < planned else str(n)
    spread = "" if summary.sd is None else f" ± {show_score(summary.sd, beside=summary.mean)}"
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
