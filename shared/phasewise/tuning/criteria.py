"""The documented success criteria of Phase 1, each with the noise that it must be seen against.

Noise alone passes "a best-worst gap above 5 %": ten identical configurations scored on 50 rows
(10 % of 500) differ by 3.08 standard errors, 20 points at an accuracy of 0.66. So every detail
names what noise alone would give.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from phasewise.settings import METRICS
from phasewise.statistics import expected_gap, share_standard_error
from phasewise.summaries import Criterion
from phasewise.tuning.candidates import Candidate

#: The documented smallest gap between the best and the worst trial: of a score in its own units
#: (5 points), of what has no upper end, a loss, as a share of the published default's.
DOCUMENTED_GAP = 0.05


class Noise(NamedTuple):
    """How far scores move although nothing about the configuration changed."""

    sampling_error: float | None  # SE of one search score, from the size of the search set
    seed_sd: float | None  # SD over seeds of the published default, Phase 0


class SearchState(NamedTuple):
    """What the criteria look at."""

    metric: str
    sign: float  # +1 if higher is better, else -1
    values: Sequence[float]  # raw scores of the finished trials
    ranked: Sequence[Candidate]  # the optimum first
    baseline: float  # mean of the published default, Phase 0
    noise: Noise
    final: bool


def measure_noise(
    metric: str, score: float | None, search_rows: int, seed_sd: float | None
) -> Noise:
    """Returns the noise floor of a unit.

    Args:
        metric: Name; a loss has no sampling error of the form sqrt(p (1-p) / n).
        score: Typical score p; the formula is exact for an accuracy and a guide for F1.
        search_rows: n; 0 if unknown.
        seed_sd: From Phase 0; None with fewer than two scores.
    """
    if score is None or METRICS[metric].direction == "minimize":
        return Noise(None, seed_sd)
    return Noise(share_standard_error(score, search_rows), seed_sd)


def check_criteria(state: SearchState) -> tuple[Criterion, ...]:
    """Returns the four documented criteria, in their order."""
    return (
        _clear_optimum(state),
        _good_configuration(state),
        _file_written(state),
        _best_worst_gap(state),
    )


def _clear_optimum(state: SearchState) -> Criterion:
    """The optimum leads the runner-up by two standard errors of the difference, on fresh seeds."""
    name = "clear optimum"
    means = [c.confirmed.mean for c in state.ranked if c.confirmed.mean is not None]
    if not state.final or len(means) < 2:
        reason = "fewer than two confirmed candidates" if state.final else "the search still runs"
        return Criterion(name=name, met=False, detail=reason)
    lead = state.sign * (means[0] - means[1])
    errors = [c.confirmed.standard_error for c in state.ranked[:2]]
    error = math.hypot(*(e for e in errors if e is not None)) if None not in errors else None
    met = error is not None and lead > 2 * error
    shown = "unknown" if error is None else f"{error:.3f}"
    detail = f"leads the runner-up by {lead:.3f} {state.metric} on fresh seeds; SE {shown}"
    return Criterion(name=name, met=met, detail=detail)


def _good_configuration(state: SearchState) -> Criterion:
    values = [state.sign * value for value in state.values]
    better = sum(value > state.sign * state.baseline for value in values)
    best = state.ranked[0]
    confirmed = best.confirmed.mean
    score = best.value if confirmed is None else confirmed
    kind = "raw" if confirmed is None else "confirmed"
    gain = state.sign * (score - state.baseline)
    detail = (
        f"{better} of {len(values)} finished trials beat the default's {state.baseline:.3f}; "
        f"the optimum's {kind} score by {gain:+.3f}; {_describe(state.noise)}"
    )
    return Criterion(name="at least one good configuration", met=gain > 0, detail=detail)


def _file_written(state: SearchState) -> Criterion:
    detail = "this file" if state.final else "written when the search ends"
    return Criterion(name="optimal.yaml exists", met=state.final, detail=detail)


def _best_worst_gap(state: SearchState) -> Criterion:
    values = list(state.values)
    gap = max(values) - min(values)
    known = [n for n in state.noise if n is not None]
    by_noise = expected_gap(len(values), max(known)) if known else None
    floor = "unknown" if by_noise is None else f"{by_noise:.3f}"
    detail = (
        f"{gap:.3f} between {len(values)} finished trials; so many identical ones would differ by "
        f"{floor} ({_describe(state.noise)})"
    )
    if state.sign > 0:
        return Criterion(name="best-worst gap above 5 %", met=gap > DOCUMENTED_GAP, detail=detail)
    share = gap / abs(state.baseline) if state.baseline else math.inf
    return Criterion(
        name=f"best-worst gap above 5 % of the default's {state.metric}",
        met=share > DOCUMENTED_GAP,
        detail=f"{detail}; {100 * share:.1f} % of {state.baseline:.3f}",
    )


def _describe(noise: Noise) -> str:
    error = "unknown" if noise.sampling_error is None else f"{noise.sampling_error:.3f}"
    sd = "unknown" if noise.seed_sd is None else f"{noise.seed_sd:.3f}"
    return f"noise: search-set SE {error}, seed SD {sd}"
