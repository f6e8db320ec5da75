"""A verdict in words: who beats whom by how much, or what it would take to tell them apart."""

from phasewise.formatting import join_words, show_difference, show_p
from phasewise.report.verdicts import ALL_TASKS, Verdict
from phasewise.settings import METRICS
from phasewise.statistics import (
    WORTHWHILE_SEEDS,
    Comparison,
    Interval,
    SeedsNeeded,
    estimate_seeds_needed,
)


class Scale:
    """How the differences of one verdict are written: as their metric, with the same digits."""

    def __init__(self, verdict: Verdict) -> None:
        found = verdict.comparison
        self._interval = found.interval if found else None
        self.unit = "" if verdict.task == ALL_TASKS else f" {verdict.metric}"

    def show(self, value: float, *, finer: bool = False) -> str:
        """Returns a difference without its unit; ``finer``: with a digit more."""
        return show_difference(value, self._interval, finer=finer)

    def show_interval(self, interval: Interval) -> str:
        """Returns ``[0.006, 0.035]``."""
        return f"[{self.show(interval.low)}, {self.show(interval.high)}]"


#: The spread of fewer is known to a factor of 30 at best: no number of seeds follows from it.
FEWEST_SEEDS = 3


def describe_verdict(verdict: Verdict) -> str:
    """Returns the verdict, the better method first, as one sentence."""
    where = "over all tasks" if verdict.task == ALL_TASKS else f"on {verdict.task}"
    pair, found = f"{verdict.first} and {verdict.second}", verdict.comparison
    if found is None:
        return (
            f"{verdict.first} has a better mean than {verdict.second} {where}, but their runs "
            "share no seed that both finished, so the difference is not judged."
        )
    scale = Scale(verdict)
    shown = f"{scale.show(found.mean)}{scale.unit}"
    if found.interval is None:
        return (
            f"{pair} share a single seed {where} (difference {shown}): one seed says nothing about "
            "the difference."
        )
    shown += f" {scale.show_interval(found.interval)}"
    if verdict.beats:
        metric = METRICS.get(verdict.metric)  # none where several are pooled
        less = ", lower is better" if metric and metric.direction == "minimize" else ""
        return f"{verdict.first} beats {verdict.second} {where} by {shown}{less}."
    if not found.has_spread:
        return _describe_constant(verdict, where, scale)
    across = " over the tasks together" if verdict.task == ALL_TASKS else ""
    alone = ""
    if (found.p_value or 1.0) <= 0.05:
        p = show_p(verdict.holm_p)
        alone = (
            " by itself it would count, but not as one of "
            f"{verdict.family_size} comparisons (p = {p});"
        )
    resolve = _resolve(found, scale, across)
    return f"{pair} cannot be told apart {where}: difference {shown};{alone}{resolve}."


def _describe_constant(verdict: Verdict, where: str, scale: Scale) -> str:
    """Without any spread there is no noise to hold the difference against."""
    found, pair = verdict.comparison, f"{verdict.first} and {verdict.second}"
    assert found is not None
    if abs(found.mean) < 1e-12:
        return f"{pair} are tied {where}: the same score on each of {found.seeds} seeds."
    return (
        f"{pair} cannot be told apart {where}: the difference is {scale.show(found.mean)}"
        f"{scale.unit} on each of {found.seeds} seeds, and without any spread its noise cannot "
        "be measured."
    )


def _resolve(found: Comparison, scale: Scale, across: str) -> str:
    """Says how large a difference would have to be, and what would resolve the one seen."""
    if found.detectable is None:
        words = " no difference on this scale could be shown with these seeds"
    else:
        words = f" the difference would have to be ≥ {scale.show(found.detectable)}"
    size = scale.show(abs(found.mean))
    if size.strip("0.") == "":
        return words
    if found.seeds < FEWEST_SEEDS:
        return f"{words}; {found.seeds} seeds cannot tell how many would resolve {size}"
    needed = estimate_seeds_needed(
        found.mean,
        seed_variance=found.seed_variance or 0.0,
        example_variance=found.example_variance,
        seeds=found.seeds,
    )
    if needed.needs_examples:
        return f"{words}; no number of seeds would resolve {size}, only more report examples"
    seeds = describe_seeds(needed, beyond=found.seeds)
    return f"{words}; {seeds}{across} would resolve {size}" if seeds else words


def describe_seeds(needed: SeedsNeeded, *, beyond: int = 1) -> str:
    """Returns ``about 7 to 40 seeds``; empty if that is no more than there are.

    Args:
        needed: As far as the seeds measured can tell.
        beyond: So many seeds are there already, and do not suffice.
    """
    most = f"more than {WORTHWHILE_SEEDS}"
    if needed.high is not None and needed.high <= beyond:
        return ""
    low = None if needed.low is None else max(needed.low, beyond + 1)
    if low is None or low > WORTHWHILE_SEEDS:
        return f"{most} seeds (not worth it)"
    ends = (str(low), most if needed.high is None else str(needed.high))
    return f"about {' to '.join(dict.fromkeys(ends))} seeds"


def list_cautions(verdicts: list[Verdict]) -> list[str]:
    """Says how far the leads can be trusted, and what the intervals leave out."""
    weak: dict[float, list[str]] = {}
    sentences = []
    for verdict in verdicts:
        found = verdict.comparison
        if found is None or not verdict.beats or found.smallest_p is None:
            continue
        if not found.can_reach_level:
            weak.setdefault(found.smallest_p, []).append(verdict.second)
        elif (found.sign_flip_p or 0.0) > 0.05:
            sentences.append(
                f"The sign-flip test, which assumes no normal differences, does not confirm the "
                f"lead over {verdict.second} (p = {show_p(found.sign_flip_p)})."
            )
    for smallest, others in weak.items():
        sentences.append(
            f"The lead over {join_words(others)} rests on normal differences: with so few paired "
            f"seeds the sign-flip test cannot reach the level (no p below {show_p(smallest)})."
        )
    reasons = dict.fromkeys(v.examples_missing for v in verdicts if v.examples_missing)
    if reasons:
        why = "; ".join(reasons)
        sentences.append(f"The intervals allow for other seeds, not for other examples: {why}.")
    return sentences
