"""The best score to expect from a search of any budget, from the trials of one search."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray

from phasewise.statistics.seeds import LEVEL, Interval, as_scores

_RESAMPLES = 999


class ExpectedBest(NamedTuple):
    """The best of k trials, for k from 1 to the number of trials."""

    values: tuple[float, ...]
    intervals: tuple[Interval, ...]  # 95 %, trials resampled


def expect_best(scores: Sequence[float], *, maximize: bool = True, seed: int = 0) -> ExpectedBest:
    """Returns the expected best value of k trials, for every k up to the number of trials.

    The unbiased estimator (Tang et al., ACL 2020, arXiv 2004.13705): the mean of the best over all
    subsets of k trials, a U-statistic. The plug-in of Dodge et al. (2019), which draws with
    replacement, is too low. The interval resamples trials; as k nears their number the sample
    holds too few bests for it and it is a guide only.

    Args:
        scores: One per trial, in any order; trials are taken as draws of one distribution. Give a
            failed trial the worst score: it has spent its budget.
        maximize: False for a loss.
        seed: Of the resampling.

    Raises:
        RecordError: A score is not finite.
    """
    sign = 1.0 if maximize else -1.0
    values = sign * as_scores(scores)
    n = len(values)
    if not n:
        return ExpectedBest((), ())
    weights = _subset_weights(n)  # (k, rank)
    best = sign * (weights @ np.sort(values))
    drawn = np.random.default_rng(seed).choice(values, size=(_RESAMPLES, n))
    draws = sign * (np.sort(drawn, axis=1) @ weights.T)  # (resamples, k)
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    intervals = (Interval(float(a), float(b)) for a, b in zip(low, high, strict=True))
    return ExpectedBest(tuple(map(float, best)), tuple(intervals))


def _subset_weights(n: int) -> NDArray[np.float64]:
    """Returns (k, rank): the share of subsets of size k whose largest has that rank.

    C(rank - 1, k - 1) / C(n, k), by logarithms since the binomials overflow above 1,000 trials.
    """
    k = np.arange(1, n + 1)[:, None]
    rank = np.arange(1, n + 1)[None, :]
    possible = rank >= k
    over = np.where(possible, rank, k)
    logs = (
        scipy.special.gammaln(over)
        - scipy.special.gammaln(k)
        - scipy.special.gammaln(over - k + 1)
        - (
            scipy.special.gammaln(n + 1)
            - scipy.special.gammaln(k + 1)
            - scipy.special.gammaln(n - k + 1)
        )
    )
    return np.asarray(np.where(possible, np.exp(logs), 0.0), dtype=np.float64)
