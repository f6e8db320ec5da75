"""Costs that grow linearly with what a run does: fitted to short runs, summed over planned ones."""

from typing import NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray

from phasewise.errors import RecordError
from phasewise.statistics.seeds import LEVEL, Interval, as_scores


class TotalCost(NamedTuple):
    """Sum over planned runs with its prediction interval at LEVEL."""

    total: float
    interval: Interval


def predict_total(
    measured: NDArray[np.float64],
    costs: NDArray[np.float64],
    planned: NDArray[np.float64],
) -> TotalCost:
    """Returns what planned runs cost in all, from runs that were measured.

    Ordinary least squares with a constant; the interval holds the uncertainty of the coefficients,
    which the planned runs share, and the scatter of each run (Draper and Smith, Applied Regression
    Analysis, 3rd ed., section 8.1, for a sum of new observations). Columns that never vary among
    the measured runs are part of the constant.

    Args:
        measured: Amounts of each measured run: (runs, amounts).
        costs: Of the measured runs: (runs,).
        planned: Amounts of each planned run: (planned runs, amounts).

    Raises:
        RecordError: Too few runs were measured to tell their scatter.
    """
    varies = np.ptp(measured, axis=0) > 0
    matrix = np.column_stack([np.ones(len(measured)), measured[:, varies]])
    wanted = np.column_stack([np.ones(len(planned)), planned[:, varies]])
    values = as_scores(costs)
    degrees_of_freedom = len(matrix) - np.linalg.matrix_rank(matrix)
    if degrees_of_freedom < 1:
        raise RecordError(f"a pilot of {len(matrix)} runs leaves nothing to tell their scatter")
    solution = np.linalg.lstsq(matrix, values, rcond=None)[0]
    residuals = values - matrix @ solution
    variance = float(residuals @ residuals) / degrees_of_freedom
    sums = wanted.sum(axis=0)  # (1 + amounts,)
    spread = float(sums @ np.linalg.pinv(matrix.T @ matrix) @ sums) + len(wanted)
    half = (
        float(scipy.stats.t.ppf((1 + LEVEL) / 2, degrees_of_freedom)) * (variance * spread) ** 0.5
    )
    total = float(sums @ solution)
    return TotalCost(total, Interval(max(0.0, total - half), total + half))
