"""Two-level designs: which of several parts are on in each run, so that no two are confounded."""

from itertools import combinations

import numpy as np
import scipy
from numpy.typing import NDArray

from phasewise.errors import ConfigError

#: Runs of the designs there are: Sylvester's Hadamard matrices, and Plackett and Burman's.
DESIGN_RUNS = (4, 8, 12, 16, 20, 24)
#: First rows of the cyclic designs (Plackett and Burman, Biometrika 33, 1946, table on p. 323).
_FIRST_ROWS = {12: "++-+++---+-", 20: "++--++++-+-+----++-", 24: "+++++-+-++--++--+-+----"}
#: Choices of columns that are looked at; all of them for the designs of up to 16 runs.
_MOST_CHOICES = 2000


def smallest_design(factors: int) -> int:
    """Returns the runs of the smallest design that leaves a degree of freedom for the error.

    Three parts have four runs, and their error comes from seeds: eight different runs of three
    parts would hold the one with all of them off.
    """
    if factors == 3:
        return 4
    return next((runs for runs in DESIGN_RUNS if runs > factors + 1), DESIGN_RUNS[-1])


def balanced_design(factors: int, runs: int) -> NDArray[np.bool_]:
    """Returns which factors are on in each run of an orthogonal array of strength two.

    Every factor is on in half of the runs, and every pair of factors is on-on, on-off, off-on and
    off-off equally often, so each main effect is estimated as if the other factors were not there.
    Of the choices of columns the one with the least aliasing between main effects and products of
    two is taken; no run has all factors off, no two runs are equal.

    Args:
        factors: At least 3, fewer than ``runs``.
        runs: One of DESIGN_RUNS.

    Returns:
        Shape (runs, factors).

    Raises:
        ConfigError: There is no such design.
    """
    if runs not in DESIGN_RUNS or not 3 <= factors < runs:
        raise ConfigError(
            f"a balanced design of {factors} parts in {runs} runs: expected 3 to {runs - 1} parts "
            f"and one of {', '.join(map(str, DESIGN_RUNS))} runs; change --trials"
        )
    columns = -_hadamard(runs)[:, 1:]  # negated, so that its first run has everything on
    choices = combinations(range(runs - 1), factors)
    usable = []
    for _, choice in zip(range(_MOST_CHOICES), choices, strict=False):
        for flip in (0, 1):  # the last column's sign changes which runs are the extreme ones
            chosen = columns[:, choice].copy()
            chosen[:, -1] *= -1 if flip else 1
            if not (chosen < 0).all(axis=1).any() and len(np.unique(chosen, axis=0)) == runs:
                usable.append(chosen)
    if not usable:
        raise ConfigError(
            f"no design of {factors} parts in {runs} runs without an empty or a repeated one"
        )
    return np.asarray(min(usable, key=_aliasing) > 0)


def _hadamard(runs: int) -> NDArray[np.float64]:
    """Returns a Hadamard matrix whose first row and column are +1: (runs, runs)."""
    if runs not in _FIRST_ROWS:
        return np.asarray(scipy.linalg.hadamard(runs), dtype=float)
    first = np.array([1.0 if sign == "+" else -1.0 for sign in _FIRST_ROWS[runs]])
    rows = [-np.roll(first, shift) for shift in range(runs - 1)]
    table = np.vstack([np.ones(runs - 1), *rows])
    return np.hstack([np.ones((runs, 1)), table])


def _aliasing(design: NDArray[np.float64]) -> float:
    """Returns how much main effects and products of two look alike; 0: not at all."""
    pairs = combinations(range(design.shape[1]), 2)
    products = np.column_stack([design[:, a] * design[:, b] for a, b in pairs])
    aliasing = np.abs(design.T @ products) / len(design)
    return float((aliasing**2).sum())
