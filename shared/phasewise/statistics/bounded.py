"""Intervals of scores on a scale with ends: an accuracy lies between 0 and 1, a loss above 0."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy

from phasewise.settings import METRICS
from phasewise.statistics.seeds import LEVEL, Interval, summarize_scores


class Bounds(NamedTuple):
    """The ends of a metric's scale; infinite where it has none."""

    low: float = -math.inf
    high: float = math.inf

    @property
    def width(self) -> float:
        """The largest difference that two scores can have."""
        return self.high - self.low


#: The scale of a metric without ends.
UNBOUNDED = Bounds()


def find_bounds(metric: str) -> Bounds:
    """Returns the ends of a metric's scale."""
    return Bounds(METRICS[metric].low, METRICS[metric].high)


def mean_interval(scores: Sequence[float], bounds: Bounds) -> Interval | None:
    """Returns the interval of the mean over runs; None below two scores.

    Raises:
        RecordError: A score is NaN or infinite.
    """
    found = summarize_scores(scores)
    if found.mean is None or found.standard_error is None:
        return None
    return bounded_interval(found.mean, found.standard_error, len(found.scores) - 1, bounds)


def bounded_interval(
    mean: float,
    standard_error: float,
    degrees_of_freedom: float,
    bounds: Bounds,
    level: float = LEVEL,
    examples: int | None = None,
) -> Interval:
    """Returns Student's t interval of a mean, taken on a scale without ends and taken back.

    Between two ends that is the logit of the score's place between them (Brown, Cai, DasGupta,
    Statistical Science 16, 2001), above one end the logarithm of its distance; the
    standard error there follows by the delta method. benchmarks/calibration.py shows the coverage.
    At an end no run errs on any example, which says how rare errors are and not that there are
    none: there it is Clopper and Pearson's interval (Biometrika 26, 1934) for so many examples.

    Args:
        mean: Within the bounds.
        standard_error: Of the mean. Zero gives a point.
        degrees_of_freedom: Of the standard error.
        bounds: Of the metric; without ends it is the plain t interval.
        level: Coverage.
        examples: That the mean is over; None: unknown, and at an end the interval is a point.
    """
    if examples and math.isfinite(bounds.width) and mean in bounds:
        reach = bounds.width * (1 - ((1 - level) / 2) ** (1 / examples))
        return Interval(max(bounds.low, mean - reach), min(bounds.high, mean + reach))
    half = float(scipy.stats.t.ppf((1 + level) / 2, degrees_of_freedom)) * standard_error
    if half == 0 or not bounds.low < mean < bounds.high:
        return Interval(mean, mean)
    if math.isfinite(bounds.width):
        place = (mean - bounds.low) / bounds.width
        spread = half / bounds.width / (place * (1 - place))
        ends = scipy.special.expit(scipy.special.logit(place) + np.array([-spread, spread]))
        low, high = (bounds.low + bounds.width * float(end) for end in ends)
        return Interval(low, high)
    if math.isfinite(bounds.low):
        above = mean - bounds.low
        factor = math.exp(min(half / above, 700.0))  # e^710 is the largest float
        return Interval(bounds.low + above / factor, bounds.low + above * factor)
    return Interval(mean - half, mean + half)


def bounded_difference(interval: Interval, bounds: Bounds) -> Interval:
    """Returns the interval of a difference without the values that no two scores can have.

    What is cut off cannot be the truth, so the coverage stays (Mandelkern, Statistical Science 17,
    2002), and so does the agreement with the p-value.
    """
    return Interval(max(interval.low, -bounds.width), min(interval.high, bounds.width))
