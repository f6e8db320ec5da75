"""What each part of a configuration adds to its score, with an interval: a linear model."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray

from phasewise.errors import RecordError
from phasewise.statistics.comparison import correct_holm
from phasewise.statistics.seeds import LEVEL, Interval, as_scores


class PartEffect(NamedTuple):
    """Score with a part minus score without it, the other parts being equal."""

    name: str
    effect: float
    interval: Interval  # Student's t at LEVEL, for this part alone
    p_value: float
    p_holm: float  # corrected for the number of parts
    mean_with: float  # plain average of the runs that have it: not an effect, others vary too


class PartEffects(NamedTuple):
    """Effects of all parts."""

    parts: tuple[PartEffect, ...]  # as given
    standard_error: tuple[float, ...]
    degrees_of_freedom: int
    error_from: Literal["configurations", "seeds"]
    configurations: int
    seeds: int
    confounded: tuple[tuple[str, str, float], ...]  # pairs of parts and their correlation, not 0


def estimate_part_effects(
    names: Sequence[str], design: NDArray[np.bool_], scores: NDArray[np.float64]
) -> PartEffects:
    """Estimates the effect of each part by least squares on the means of the configurations.

    The configuration is the unit of replication, so its error holds what parts do jointly as well
    as the seeds; only where as many parts as configurations leave no degree of freedom, it is the
    seeds' alone. Seeds are blocks: the score of a seed is taken relative to that seed's mean.

    Args:
        names: Of the parts.
        design: Which parts are on: (configurations, parts).
        scores: Higher is better, finite: (configurations, seeds).

    Raises:
        RecordError: Shapes differ, a part is always on or always off, parts cannot be told apart,
            or nothing is left to estimate the error from.
    """
    values = as_scores(scores)
    matrix = _design_matrix(names, design, values)
    blocked = values - values.mean(axis=0)  # relative to the mean of each seed
    means = blocked.mean(axis=1)
    solution = np.linalg.lstsq(matrix, means, rcond=None)[0]
    variance, degrees_of_freedom, source = _error(matrix, means, solution, blocked)
    errors = np.sqrt(variance * np.diag(np.linalg.inv(matrix.T @ matrix)))[1:]
    half = float(scipy.stats.t.ppf((1 + LEVEL) / 2, degrees_of_freedom)) * errors
    with np.errstate(divide="ignore", invalid="ignore"):
        p_values = 2 * scipy.stats.t.sf(np.abs(solution[1:] / errors), degrees_of_freedom)
    p_values = np.nan_to_num(p_values, nan=1.0)  # no effect and no error: nothing to be seen
    holm = correct_holm([float(p) for p in p_values])
    averages = values.mean(axis=1)
    parts = tuple(
        PartEffect(
            name=name,
            effect=float(solution[1 + j]),
            interval=Interval(float(solution[1 + j] - half[j]), float(solution[1 + j] + half[j])),
            p_value=float(p_values[j]),
            p_holm=float(holm[j] or 0.0),
            mean_with=float(averages[design[:, j]].mean()),
        )
        for j, name in enumerate(names)
    )
    return PartEffects(
        parts=parts,
        standard_error=tuple(float(error) for error in errors),
        degrees_of_freedom=degrees_of_freedom,
        error_from=source,
        configurations=len(values),
        seeds=values.shape[1],
        confounded=_confounded(names, design),
    )


def _design_matrix(
    names: Sequence[str], design: NDArray[np.bool_], values: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Returns (configurations, 1 + parts), a column of ones first, or refuses the design."""
    n, k = design.shape
    if values.ndim != 2 or len(values) != n or len(names) != k:
        raise RecordError(
            f"effects of parts: expected {n} configurations of {k} parts, got {len(names)} names "
            f"and scores of shape {values.shape}"
        )
    matrix = np.column_stack([np.ones(n), design.astype(float)])
    if np.linalg.matrix_rank(matrix) <= k:
        raise RecordError(
            "effects of parts: the configurations cannot tell the parts apart (a part is always "
            "on or off, or goes with another); use a balanced design"
        )
    return matrix


def split_linearly(
    names: Sequence[str], design: NDArray[np.bool_], amounts: Sequence[float]
) -> dict[str, float]:
    """Returns what each part adds to an amount that is a sum over parts, such as weights.

    Args:
        names: Of the parts.
        design: Which parts are on: (configurations, parts).
        amounts: One per configuration.
    """
    matrix = np.column_stack([np.ones(len(design)), design.astype(float)])
    solution = np.linalg.lstsq(matrix, np.asarray(amounts, dtype=float), rcond=None)[0]
    return {name: float(solution[1 + j]) for j, name in enumerate(names)}


def _error(
    matrix: NDArray[np.float64],
    means: NDArray[np.float64],
    solution: NDArray[np.float64],
    blocked: NDArray[np.float64],
) -> tuple[float, int, Literal["configurations", "seeds"]]:
    """Returns variance of a configuration's mean, its degrees of freedom and where it is from."""
    n, columns = matrix.shape
    seeds = blocked.shape[1]
    if n > columns:
        residuals = means - matrix @ solution
        return float(residuals @ residuals) / (n - columns), n - columns, "configurations"
    if seeds < 2:
        raise RecordError(
            f"effects of parts: {n} configurations of {columns - 1} parts on one seed leave "
            "nothing to estimate the error from; use more trials or seeds"
        )
    within = blocked - means[:, None]
    degrees_of_freedom = (n - 1) * (seeds - 1)
    return float((within**2).sum()) / degrees_of_freedom / seeds, degrees_of_freedom, "seeds"


def _confounded(
    names: Sequence[str], design: NDArray[np.bool_]
) -> tuple[tuple[str, str, float], ...]:
    correlation = np.corrcoef(design.astype(float), rowvar=False)
    return tuple(
        (names[a], names[b], float(correlation[a, b]))
        for a in range(len(names))
        for b in range(a)
        if abs(correlation[a, b]) > 1e-9
    )
