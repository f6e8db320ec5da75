"""What a person is told of a search that has ended."""

from collections.abc import Iterator

from phasewise.summaries import Optimum


def describe_optimum(optimum: Optimum) -> Iterator[tuple[str, str]]:
    """Yields lines, each with its style of rich."""
    confirmed = optimum.confirmed_value
    shown = "unconfirmed" if confirmed is None else f"confirmed {confirmed:.3f}"
    best = f"best: trial {optimum.best_trial} · {optimum.metric} {optimum.best_value:.3f}"
    yield f"{best} · {shown} · {optimum.improvement or 0:+.3f} on the default", "bold"
    if optimum.learned_why:
        yield optimum.learned_why, "" if optimum.learned else "yellow"
    for criterion in optimum.success_criteria:
        met = "met" if criterion.met else "NOT met"
        yield f"{met}: {criterion.name}: {criterion.detail}", ""
    for flag in optimum.range_flags:
        low, high = flag.proposed
        place = f"{flag.parameter} {flag.value:g} lies at the {flag.edge} of its range"
        yield f"{place}; search {low:g}..{high:g}", "yellow"
