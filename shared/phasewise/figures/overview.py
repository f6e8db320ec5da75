"""Every method's score beside what needs no training: the figure that answers first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from phasewise.figures.style import NEUTRAL, MethodStyle, new_figure, shorten
from phasewise.formatting import show_interval, show_score
from phasewise.statistics import Interval


@dataclass(frozen=True)
class OverviewRow:
    """One unit on the report set."""

    task: str
    method: str
    mean: float
    interval: Interval | None  # 95 %; None with a single seed
    floor: float | None  # what needs no training
    learned: bool
    strongest: float | None = None  # best baseline, where it is above the floor


@dataclass(frozen=True)
class Overview:
    """The units of the tasks that share a scale, in the order given."""

    metric: str  # several are joined
    rows: tuple[OverviewRow, ...]

    @property
    def labels(self) -> list[str]:
        """Names of the rows; the task is left out where there is one only."""
        single = len({row.task for row in self.rows}) == 1
        return [row.method if single else f"{row.task} · {row.method}" for row in self.rows]


def draw_overview(overview: Overview, styles: Mapping[str, MethodStyle]) -> go.Figure:
    """Draws the means with their intervals, pale where nothing was learned, and the baselines."""
    figure = new_figure(f"{overview.metric}, report set", "")
    labels = overview.labels
    for label, row in zip(labels, overview.rows, strict=True):
        _add_row(figure, label, row, styles[row.method])
    floors = [row.floor for row in overview.rows]
    _add_marks(figure, labels, floors, "what needs no training", "line-ns", 18)
    strongest = [row.strongest for row in overview.rows]
    _add_marks(figure, labels, strongest, "the best baseline", "diamond", 9)
    figure.update_yaxes(categoryorder="array", categoryarray=labels[::-1], type="category")
    figure.update_layout(height=110 + 34 * max(len(labels), 1))
    return figure


def describe_overview(overview: Overview) -> str:
    """Returns the mean of each unit with its interval."""
    words = [
        " ".join(filter(None, [label, show_score(row.mean), show_interval(row.interval)]))
        + ("" if row.learned else " (has not learned)")
        for label, row in zip(overview.labels, overview.rows, strict=True)
    ]
    return f"{overview.metric} on the report set: {', '.join(words)}."


def join_metrics(metrics: Sequence[str]) -> str:
    """Returns the distinct metrics of an axis."""
    return " or ".join(dict.fromkeys(metrics))


def _add_marks(
    figure: go.Figure,
    labels: Sequence[str],
    scores: Sequence[float | None],
    name: str,
    symbol: str,
    size: int,
) -> None:
    known = [
        (label, shorten(score))
        for label, score in zip(labels, scores, strict=True)
        if score is not None
    ]
    if not known:
        return
    figure.add_scatter(
        x=[score for _, score in known],
        y=[label for label, _ in known],
        mode="markers",
        marker={
            "symbol": symbol,
            "size": size,
            "color": NEUTRAL,
            "line": {"width": 2, "color": NEUTRAL},
        },
        name=name,
        hovertemplate=f"{name}: %{{x:.4f}}<extra></extra>",
    )


def _add_row(figure: go.Figure, label: str, row: OverviewRow, style: MethodStyle) -> None:
    bars = {}
    if row.interval is not None:
        bars = {
            "array": [shorten(row.interval.high - row.mean)],
            "arrayminus": [shorten(row.mean - row.interval.low)],
        }
    figure.add_scatter(
        x=[shorten(row.mean)],
        y=[label],
        mode="markers",
        marker={
            "symbol": style.symbol,
            "size": 13,
            "color": style.color,
            "opacity": 1.0 if row.learned else 0.35,
        },
        error_x={**bars, "thickness": 2.5, "width": 7} if bars else None,
        showlegend=False,
        hovertemplate=f"{label}: %{{x:.4f}}<extra></extra>",
    )
