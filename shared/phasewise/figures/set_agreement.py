"""Report score against search score, run by run: what choosing by the search set is worth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go
import scipy

from phasewise.figures.style import NEUTRAL, MethodStyle, new_figure, shorten
from phasewise.records import RunRecord

#: With fewer runs a rank correlation takes a handful of values.
_FEWEST_RUNS = 4


@dataclass(frozen=True)
class SetAgreement:
    """The runs of one task that were scored on both sets."""

    metric: str
    scores: Mapping[str, tuple[tuple[float, float], ...]]  # method to (search, report) of its runs

    @property
    def runs(self) -> list[tuple[float, float]]:
        """The runs of all methods."""
        return [pair for pairs in self.scores.values() for pair in pairs]

    @property
    def rho(self) -> float | None:
        """Spearman's rank correlation over all runs; None for few runs, or all alike on a set."""
        search, report = [left for left, _ in self.runs], [right for _, right in self.runs]
        if len(search) < _FEWEST_RUNS or min(len({*search}), len({*report})) < 2:
            return None
        return float(scipy.stats.spearmanr(search, report).statistic)


def compute_set_agreement(metric: str, runs: Mapping[str, Sequence[RunRecord]]) -> SetAgreement:
    """Pairs the two scores of each run.

    Args:
        metric: Of the task.
        runs: Method to its runs; those that have not finished with both scores are left out.
    """
    scores = {
        method: tuple(
            (record.search_score, record.report_score)
            for record in records
            if record.status == "finished"
            and record.search_score is not None
            and record.report_score is not None
        )
        for method, records in runs.items()
    }
    return SetAgreement(metric, {method: pairs for method, pairs in scores.items() if pairs})


def draw_set_agreement(value: SetAgreement, styles: Mapping[str, MethodStyle]) -> go.Figure:
    """Draws one point per run, and the line on which both scores are equal."""
    figure = new_figure(f"{value.metric}, search set", f"{value.metric}, report set")
    ends = [shorten(end(score for pair in value.runs for score in pair)) for end in (min, max)]
    figure.add_scatter(
        x=ends,
        y=ends,
        mode="lines",
        line={"color": NEUTRAL, "dash": "dot"},
        name="equal scores",
        hoverinfo="skip",
    )
    for method, pairs in value.scores.items():
        figure.add_scatter(
            x=[shorten(search) for search, _ in pairs],
            y=[shorten(report) for _, report in pairs],
            mode="markers",
            marker={"symbol": styles[method].symbol, "size": 9, "color": styles[method].color},
            opacity=0.75,
            name=method,
            hovertemplate=f"{method}: search %{{x:.4f}}, report %{{y:.4f}}<extra></extra>",
        )
    return figure


def describe_set_agreement(value: SetAgreement) -> str:
    """Returns how well the order of the runs on one set is that on the other."""
    words = f"report score against search score of {len(value.runs)} runs"
    if value.rho is None:
        return f"{words}; too few, or too much alike, for a rank correlation."
    return f"{words}, rank correlation {value.rho:.2f}.".replace("-0.", "−0.")
