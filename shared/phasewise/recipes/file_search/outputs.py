"""The files and the lines that a search from the command line ends with, as the LLM guide has them.

All of them are read back from the records and the optimum: nothing here is kept anywhere else.
"""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from phasewise.figures import (
    Importance,
    assign_styles,
    collect_trials,
    compute_history,
    compute_importance,
    draw_history,
)
from phasewise.figures.static import write_static
from phasewise.formatting import guard_cell
from phasewise.recipes.trials import read_trials
from phasewise.records import RunRecord, write_atomically, write_json
from phasewise.settings import Study, group_as_documented
from phasewise.summaries import Optimum

BEST_FILE = "best_config.yaml"
SUMMARY_FILE = "trials_summary.csv"
PLOT_STEM = "optimization_plot"
TRIALS_FOLDER = "trial_results"


def write_search_outputs(
    study: Study, task: str, method: str, optimum: Optimum, folder: Path
) -> None:
    """Writes ``best_config.yaml``, ``trials_summary.csv``, the plot and ``trial_results/trial_N/``.

    Args:
        study: The study.
        task: Its task.
        method: Its method.
        optimum: Of the unit, final.
        folder: Where they go; earlier ones are replaced.
    """
    records = read_trials(study, task, method)
    write_atomically(folder / BEST_FILE, _describe_best(optimum))
    write_atomically(folder / SUMMARY_FILE, _tabulate(records))
    for record in records:
        _write_trial(folder / TRIALS_FOLDER / f"trial_{record.config.index}", record)
    style = assign_styles([method])[method]
    figure = draw_history(compute_history(records), style)
    write_static(figure, folder / PLOT_STEM, title=f"Search of {task}/{method}")


def describe_result(study: Study, task: str, method: str, optimum: Optimum) -> str:
    """Returns the lines to print: best configuration and value, its direction, importance."""
    best = json.dumps(group_as_documented(optimum.best_hyperparameters), indent=2)
    better = "higher" if optimum.direction == "maximize" else "lower"
    lines = [
        f"Best hyperparameter configuration:\n{best}\n",
        f"Best value: {optimum.best_value:.4g} ({better} is better)",
        f"Objective: {optimum.metric}; trial {optimum.best_trial} of {optimum.n_trials}",
    ]
    if optimum.confirmed_value is not None:
        lines.append(
            f"On {optimum.confirmed_seeds} fresh seeds: {optimum.confirmed_value:.4g} "
            f"(published default: {optimum.baseline_value:.4g})"
        )
    for point in optimum.pareto_front:
        values = ", ".join(f"{name} {value:.4g}" for name, value in point.values.items())
        lines.append(f"Pareto front: trial {point.trial}: {values}")
    records = read_trials(study, task, method)
    trials = collect_trials(records, study.parameters_of(method))
    return "\n".join([*lines, "", *_rank_parameters(compute_importance(trials), trials.metric)])


def _rank_parameters(importance: Importance, metric: str) -> list[str]:
    if not importance.parameters:
        return [f"Parameter importance: not to be told from {importance.trials} finished trials"]
    lines = [f"Parameter importance for {metric} (95 % interval):"]
    for rank, each in enumerate(importance.parameters, start=1):
        low, high = 100 * each.interval.low, 100 * each.interval.high
        lines.append(f"{rank}. {each.name:<22} ({100 * each.share:.1f}%, {low:.0f}-{high:.0f}%)")
    return [*lines, *([f"Warning: {importance.warning}"] if importance.warning else [])]


def _describe_best(optimum: Optimum) -> str:
    content: dict[str, Any] = {
        **group_as_documented(optimum.best_hyperparameters),
        "result": {
            "objective": optimum.metric,
            "direction": optimum.direction,
            "best_value": optimum.best_value,
            "confirmed_value": optimum.confirmed_value,
            "confirmed_standard_error": optimum.confirmed_standard_error,
            "published_default": optimum.baseline_value,
            "best_trial": optimum.best_trial,
            "trials": optimum.n_trials,
        },
    }
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def _tabulate(records: Sequence[RunRecord]) -> str:
    """Returns the trials as CSV, one row each; a metric or cost that a trial lacks is empty."""
    rows = [_describe_trial(record) for record in records]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    columns = sorted(columns, key=lambda name: name == "message")  # the long text comes last
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: guard_cell(v) for k, v in row.items()} for row in rows)
    return stream.getvalue()


def _describe_trial(record: RunRecord) -> dict[str, Any]:
    cost = record.cost
    row: dict[str, Any] = {"trial": record.config.index, "status": record.status}
    row |= record.search_metrics
    for section, values in _documented(record).items():
        row |= {f"{section}.{name}": value for name, value in values.items()}
    if cost is not None:
        row |= {
            "train_seconds": round(cost.train_seconds, 3),
            "peak_memory_gb": None if cost.peak_memory_mb is None else cost.peak_memory_mb / 1e3,
            "adapter_mb": None if cost.adapter_bytes is None else cost.adapter_bytes / 1e6,
            "trainable_parameters": cost.trainable_parameters,
        }
    return {**row, "message": record.message}


def _documented(record: RunRecord) -> dict[str, dict[str, Any]]:
    """Returns what a trial was trained with; ``lora`` only where there is an adapter."""
    grouped = group_as_documented(record.config.hyperparameters.model_dump(mode="json"))
    if not record.config.unit_config.method.trains_adapter:
        grouped.pop("lora", None)
    return grouped


def _write_trial(folder: Path, record: RunRecord) -> None:
    text = yaml.safe_dump(_documented(record), sort_keys=False, allow_unicode=True)
    write_atomically(folder / "config.yaml", text)
    content = record.model_dump(mode="json")
    keys = ("status", "message", "search_metrics", "search_rows", "cost", "evaluations")
    write_json(folder / "results.json", {key: content[key] for key in keys})
