"""Experiments of a suite beside each other: score, memory, time, size, weights; all measured."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any, Literal

import plotly.graph_objects as go

from phasewise.figures.style import NEUTRAL, MethodStyle, assign_styles, new_figure, shorten
from phasewise.records import RunCost, RunRecord
from phasewise.statistics import Interval, find_bounds, mean_interval


@dataclass(frozen=True)
class ExperimentResult:
    """One experiment over its seeds; costs are medians over its finished runs, None if unknown."""

    name: str
    metric: str
    rank: int
    scores: Mapping[str, float]  # seed to the task's metric on the search set
    failed: tuple[str, ...]  # seed and reason of each run without a score
    train_seconds: float | None
    memory_mb: float | None
    adapter_mb: float | None
    trainable_parameters: int | None
    total_parameters: int | None

    @property
    def mean(self) -> float | None:
        """Mean score; None without any."""
        return fmean(self.scores.values()) if self.scores else None

    @property
    def interval(self) -> Interval | None:
        """95 % interval of the mean, within the metric's range; None below two seeds."""
        return mean_interval(list(self.scores.values()), find_bounds(self.metric))


@dataclass(frozen=True)
class Ablation:
    """The experiments of a suite, in its order."""

    metric: str
    direction: Literal["maximize", "minimize"]
    device: str
    experiments: tuple[ExperimentResult, ...]

    @property
    def scored(self) -> tuple[ExperimentResult, ...]:
        """Experiments with a score."""
        return tuple(each for each in self.experiments if each.scores)


def compute_ablation(runs: Mapping[str, Mapping[str, RunRecord]]) -> Ablation:
    """Computes what each experiment scored and cost.

    Args:
        runs: Experiment to seed to its run; at least one run in all.
    """
    first = next(record for by_seed in runs.values() for record in by_seed.values())
    task = first.config.unit_config.task
    experiments = tuple(
        _summarize(name, task.metric, by_seed) for name, by_seed in runs.items() if by_seed
    )
    device = first.environment.get("device", "unknown")
    return Ablation(task.metric, task.direction, device, experiments)


def _summarize(name: str, metric: str, by_seed: Mapping[str, RunRecord]) -> ExperimentResult:
    finished = {s: r for s, r in by_seed.items() if r.status == "finished"}
    scores = {s: r.search_score for s, r in finished.items() if r.search_score is not None}
    costs = [record.cost for record in finished.values() if record.cost is not None]
    some = next(iter(by_seed.values()))

    def middle(read: Callable[[RunCost], float | None]) -> float | None:
        values = [value for cost in costs if (value := read(cost)) is not None]
        return float(median(values)) if values else None

    adapter = middle(lambda cost: cost.adapter_bytes)
    return ExperimentResult(
        name=name,
        metric=metric,
        rank=some.config.hyperparameters.lora_rank,
        scores=scores,
        failed=tuple(
            f"{seed}: {record.message or record.status}"
            for seed, record in by_seed.items()
            if seed not in scores
        ),
        train_seconds=middle(lambda cost: cost.train_seconds),
        memory_mb=middle(lambda cost: cost.peak_memory_mb),
        adapter_mb=None if adapter is None else adapter / 1e6,
        trainable_parameters=costs[0].trainable_parameters if costs else None,
        total_parameters=costs[0].total_parameters if costs else None,
    )


def draw_score_and_memory(value: Ablation, *, by_rank: bool) -> go.Figure:
    """Draws score (mean, 95 % interval) and peak memory of each experiment, side by side.

    Args:
        value: The suite's results.
        by_rank: Whether the horizontal axis holds LoRA ranks, else names.
    """
    known = [each for each in value.scored if each.mean is not None]
    x = [str(each.rank) if by_rank else each.name for each in known]
    axis = {
        "title": {"text": "LoRA rank" if by_rank else ""},
        "type": "category",
        "categoryorder": "array",
        "categoryarray": list(dict.fromkeys(x)),
    }
    figure = new_figure(
        "",
        f"{value.metric}, search set",
        xaxis={**axis, "domain": [0.0, 0.44]},
        xaxis2={**axis, "domain": [0.56, 1.0]},
        yaxis2={"title": {"text": "peak memory, MB"}, "anchor": "x2"},
    )
    means = [each.mean or 0.0 for each in known]
    ends = [each.interval or Interval(m, m) for each, m in zip(known, means, strict=True)]
    error = {
        "array": [shorten(end.high - mean) for end, mean in zip(ends, means, strict=True)],
        "arrayminus": [shorten(mean - end.low) for end, mean in zip(ends, means, strict=True)],
    }
    figure.add_scatter(
        x=x,
        y=[shorten(mean) for mean in means],
        error_y={**error, "thickness": 2, "width": 5},
        mode="markers",
        marker={"size": 10, "symbol": "circle", "color": "#1a7fc4"},
        showlegend=False,
        hovertemplate="%{x}: %{y:.4f}<extra></extra>",
    )
    measured = [(at, each.memory_mb) for at, each in zip(x, known, strict=True) if each.memory_mb]
    figure.add_scatter(
        x=[at for at, _ in measured],
        y=[shorten(memory) for _, memory in measured],
        mode="markers",
        marker={"size": 10, "symbol": "square", "color": "#d55e00"},
        showlegend=False,
        xaxis="x2",
        yaxis="y2",
        hovertemplate="%{x}: %{y:.4g} MB<extra></extra>",
    )
    return figure


def draw_frontier(value: Ablation) -> go.Figure:
    """Draws score against peak memory; the line joins experiments that no other beats in both."""
    known = [each for each in value.scored if each.memory_mb is not None]
    sign = 1.0 if value.direction == "maximize" else -1.0
    front = sorted(
        (each for each in known if not _is_beaten(each, known, sign)),
        key=lambda each: each.memory_mb or 0.0,
    )
    figure = new_figure("peak memory, MB", f"{value.metric}, search set")
    figure.add_scatter(
        x=[shorten(each.memory_mb or 0.0) for each in front],
        y=[shorten(each.mean or 0.0) for each in front],
        mode="lines",
        line={"color": NEUTRAL, "dash": "dot"},
        name="not beaten in both",
        hoverinfo="skip",
    )
    styles = assign_styles(each.name for each in known)
    for each in known:
        figure.add_scatter(
            x=[shorten(each.memory_mb or 0.0)],
            y=[shorten(each.mean or 0.0)],
            mode="markers",
            marker=_marker(styles[each.name]),
            name=each.name,
            hovertemplate=f"{each.name}: %{{x:.4g}} MB, %{{y:.4f}}<extra></extra>",
        )
    return figure


def draw_costs(
    value: Ablation, title: str, reads: Mapping[str, Callable[[ExperimentResult], float | None]]
) -> go.Figure:
    """Draws one or more amounts of each experiment, a marker each; unknown ones are left out.

    Args:
        value: The suite's results.
        title: Of the horizontal axis, with the unit.
        reads: Label of an amount to how it is read off; on a log axis where there are several.
    """
    figure = new_figure(title, "")
    styles = assign_styles(reads)
    for label, read in reads.items():
        known = [(each.name, amount) for each in value.experiments if (amount := read(each))]
        figure.add_scatter(
            x=[shorten(amount) for _, amount in known],
            y=[name for name, _ in known],
            mode="markers",
            marker=_marker(styles[label]),
            name=label,
            showlegend=len(reads) > 1,
            hovertemplate="%{y}: %{x:.4g}<extra></extra>",
        )
    names = [each.name for each in value.experiments]
    figure.update_yaxes(categoryorder="array", categoryarray=names[::-1], type="category")
    if len(reads) > 1:
        figure.update_xaxes(type="log")
    else:
        figure.update_xaxes(rangemode="tozero")
    figure.update_layout(height=130 + 36 * max(len(names), 1))
    return figure


def _marker(style: MethodStyle) -> dict[str, Any]:
    return {"symbol": style.symbol, "size": 11, "color": style.color}


def _is_beaten(one: ExperimentResult, all_: list[ExperimentResult], sign: float) -> bool:
    score, memory = sign * (one.mean or 0.0), one.memory_mb or 0.0
    return any(
        sign * (other.mean or 0.0) >= score
        and (other.memory_mb or 0.0) <= memory
        and (sign * (other.mean or 0.0) > score or (other.memory_mb or 0.0) < memory)
        for other in all_
    )
