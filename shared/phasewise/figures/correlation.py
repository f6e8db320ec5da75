"""Rank correlation between the parameters that a search drew: what it cannot tell apart."""

import warnings
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
import scipy

from phasewise.figures.searched import SearchedTrials
from phasewise.figures.style import new_figure

#: Blue, near-white, orange: readable without red and green, on a white and on a dark ground.
_COLORS = [[0.0, "#1a7fc4"], [0.5, "#f3f3f3"], [1.0, "#d55e00"]]
#: With fewer pairs a rank correlation takes a handful of values.
_FEWEST_PAIRS = 4


@dataclass(frozen=True)
class Correlation:
    """Spearman's rho between sampled parameters; 0 would be an unconfounded search."""

    names: tuple[str, ...]
    rho: np.ndarray  # (names, names); NaN where it is not defined
    trials: int
    left_out: tuple[str, ...]  # lists of words, which have no order

    def strongest(self) -> tuple[str, str, float] | None:
        """Returns the pair of the largest absolute correlation; None without any."""
        lower = np.tril(np.abs(np.nan_to_num(self.rho)), -1)
        if not lower.any():
            return None
        row, column = np.unravel_index(int(lower.argmax()), lower.shape)
        return self.names[column], self.names[row], float(self.rho[row, column])


def compute_correlation(trials: SearchedTrials) -> Correlation:
    """Computes Spearman's rho for each pair of ordered parameters over all trials that were drawn.

    Trials of any status count: what was drawn does not depend on how it ended. Pairs with fewer
    than four trials, or with a constant parameter, have NaN.
    """
    ordered = [each for each in trials.parameters if each.scale != "unordered"]
    table = [np.array(each.places) for each in ordered]
    rho = np.full((len(ordered), len(ordered)), np.nan)
    for row in range(len(ordered)):
        for column in range(row + 1):
            rho[row, column] = rho[column, row] = _spearman(table[row], table[column])
    return Correlation(
        names=tuple(each.name for each in ordered),
        rho=rho,
        trials=len(trials.trials),
        left_out=tuple(each.name for each in trials.parameters if each.scale == "unordered"),
    )


def draw_correlation(correlation: Correlation) -> go.Figure:
    """Draws the lower triangle of the matrix with its numbers."""
    figure = new_figure("", "")
    names = correlation.names
    cells = np.where(np.tri(len(names), k=-1, dtype=bool), correlation.rho, np.nan)[1:, :-1]
    figure.add_heatmap(
        z=[[None if np.isnan(value) else round(float(value), 3) for value in row] for row in cells],
        x=list(names[:-1]),
        y=list(names[1:]),
        colorscale=_COLORS,
        zmin=-1,
        zmax=1,
        texttemplate="%{z:.2f}",
        colorbar={"thickness": 12},
        hoverongaps=False,
        hovertemplate="%{y} and %{x}: %{z:.2f}<extra></extra>",
    )
    # Every name: plotly leaves out those that it finds too close.
    left, below = (
        {"tickvals": list(range(len(each))), "ticktext": list(each), "showgrid": False}
        for each in (names[1:], names[:-1])
    )
    figure.update_yaxes(autorange="reversed", **left)
    figure.update_xaxes(tickangle=-30, **below)
    figure.update_layout(height=170 + 36 * len(names))
    return figure


def describe_correlation(correlation: Correlation) -> str:
    """Returns the strongest correlation; there must be one."""
    strongest = correlation.strongest()
    assert strongest is not None
    first, second, rho = strongest
    return (
        f"rank correlation between the parameters that the search drew; strongest between {first} "
        f"and {second}, {rho:.2f} over {correlation.trials} trials."
    ).replace("-0.", "−0.")


def note_correlation(correlation: Correlation) -> str:
    """Returns how to read the matrix, and what is not in it."""
    words = correlation.left_out
    left_out = f" No order, so left out: {', '.join(words)}." if words else ""
    return (
        "Spearman's ρ. Parameters that were drawn together cannot be told apart by this "
        f"search.{left_out}"
    )


def _spearman(first: np.ndarray, second: np.ndarray) -> float:
    both = ~(np.isnan(first) | np.isnan(second))
    if both.sum() < _FEWEST_PAIRS:
        return float("nan")
    with warnings.catch_warnings():  # a constant column gives NaN, which is what is wanted
        warnings.simplefilter("ignore", scipy.stats.ConstantInputWarning)
        return float(scipy.stats.spearmanr(first[both], second[both]).statistic)
