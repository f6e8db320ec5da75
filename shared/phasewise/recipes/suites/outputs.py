"""What a suite ends with: results database, plots, and RESULTS.md with findings in words."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from phasewise.figures.static import write_static
from phasewise.recipes.suites.experiments import DATABASE_FILE, ExperimentRun, write_experiments
from phasewise.recipes.suites.figures import (
    Ablation,
    ExperimentResult,
    compute_ablation,
    draw_costs,
    draw_frontier,
    draw_score_and_memory,
)
from phasewise.recipes.suites.findings import default_reference, describe_findings
from phasewise.recipes.suites.settings import Suite
from phasewise.recipes.suites.study import find_experiment
from phasewise.records import RunRecord, write_atomically
from phasewise.report.columns import Column, Table, render_markdown_table
from phasewise.settings import Study
from phasewise.statistics import Interval
from phasewise.unit_runs import read_runs

RESULTS_FILE = "RESULTS.md"
PLOTS_FOLDER = "plots"
#: Experiment to seed (``trial`` or the index of a confirmation) to its run.
Runs = Mapping[str, Mapping[str, RunRecord]]


def write_ablation_outputs(
    suite: Suite, study: Study, folder: Path, *, troubles: Mapping[str, str]
) -> list[Path]:
    """Writes ``experiments.db``, ``plots/`` and ``RESULTS.md``; returns the reports' files.

    Args:
        suite: The suite.
        study: Its study.
        folder: Where they go; earlier ones are replaced.
        troubles: Unit to why it could not be run; told in the report.
    """
    tracked: list[ExperimentRun] = []
    sections = [f"# {suite.suite_name}\n\n{suite.description}\n"]
    for task in study.tasks:
        runs = collect_runs(suite, study, task)
        tracked += [
            ExperimentRun(suite.experiment_type, name, record)
            for name, by_seed in runs.items()
            for record in by_seed.values()
        ]
        if not any(runs.values()):
            continue
        value = compute_ablation(runs)
        prefix = f"{task}_" if len(study.tasks) > 1 else ""
        plots = _write_plots(value, folder / PLOTS_FOLDER, prefix) if value.scored else []
        sections.append(_describe_task(task, study, suite, value, plots))
    sections += [f"Not run: {unit}: {reason}\n" for unit, reason in troubles.items()]
    write_experiments(folder / DATABASE_FILE, tracked)
    write_atomically(folder / RESULTS_FILE, "\n".join(sections))
    return [folder / RESULTS_FILE, folder / DATABASE_FILE]


def collect_runs(suite: Suite, study: Study, task: str) -> dict[str, dict[str, RunRecord]]:
    """Returns a task's runs by experiment and seed, experiments in the suite's order."""
    runs: dict[str, dict[str, RunRecord]] = {each.name: {} for each in suite.experiments}
    for method in study.methods:
        for role in ("trial", "confirm"):
            for record in read_runs(study, task, method, phase="phase1", role=role).records:
                experiment = find_experiment(suite, record)
                if experiment is not None:
                    seed = role if role == "trial" else f"seed {record.config.repeat}"
                    runs[experiment.name][seed] = record
    return runs


def _write_plots(value: Ablation, folder: Path, prefix: str) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    by_rank = len({each.rank for each in value.experiments}) == len(value.experiments)
    weights = {
        "trainable": lambda each: each.trainable_parameters,
        "total": lambda each: each.total_parameters,
    }
    figures = {
        "rank_comparison" if by_rank else "comparison": draw_score_and_memory(
            value, by_rank=by_rank
        ),
        "efficiency_frontier": draw_frontier(value),
        "training_time": draw_costs(
            value, "training, seconds", {"seconds": lambda each: each.train_seconds}
        ),
        "adapter_size": draw_costs(value, "adapter, MB", {"MB": lambda each: each.adapter_mb}),
        "parameters": draw_costs(value, "weights", weights),
    }
    for name, figure in figures.items():
        stem = folder / f"{prefix}{name}"
        write_static(figure, stem, title=name.replace("_", " "), wide="comparison" in name)
    return [folder / f"{prefix}{name}.png" for name in figures]


def _describe_task(
    task: str, study: Study, suite: Suite, value: Ablation, plots: Sequence[Path]
) -> str:
    reference = suite.reference or (default_reference(value) if value.scored else "")
    if value.scored and reference not in {each.name for each in value.scored}:
        reference = default_reference(value)
    better = "higher" if value.direction == "maximize" else "lower"
    memory = "allocator's peak" if "cpu" not in value.device else "worker's peak resident memory"
    lines = [
        f"## {task}",
        "",
        f"Model {study.settings.model.source} on {value.device}; {value.metric} on the search set, "
        f"{better} is better. Memory is the {memory}, measured.",
        "",
        render_markdown_table(_build_table(value)),
        "### Findings",
        "",
        *[f"- {line}" for line in (describe_findings(value, reference) if reference else [])],
        "",
        *[f"![{plot.stem}]({PLOTS_FOLDER}/{plot.name})" for plot in plots],
        "",
    ]
    return "\n".join(lines)


def _build_table(value: Ablation) -> Table[ExperimentResult]:
    def words(heading: str, show: Callable[[ExperimentResult], str]) -> Column[ExperimentResult]:
        return Column(heading, show, words=True)

    columns = (
        words("experiment", lambda each: each.name),
        words(f"{value.metric}, mean", lambda each: _show(each.mean, ".4f")),
        words("95 % interval", lambda each: _show_interval(each.interval)),
        words("seeds", lambda each: str(len(each.scores))),
        words("seconds", lambda each: _show(each.train_seconds, ".1f")),
        words("peak MB", lambda each: _show(each.memory_mb, ".0f")),
        words("adapter MB", lambda each: _show(each.adapter_mb, ".2f")),
        words("trained weights", lambda each: _show(each.trainable_parameters, ",d")),
    )
    return Table(columns, tuple(value.experiments))


def _show_interval(interval: Interval | None) -> str:
    return "-" if interval is None else f"{interval.low:.4f} to {interval.high:.4f}"


def _show(amount: float | None, form: str) -> str:
    return "-" if amount is None else format(amount, form)
