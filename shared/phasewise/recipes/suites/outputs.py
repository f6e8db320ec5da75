"""What a suite ends with: results database, plots, and RESULTS.md with findings in words."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from phasewise.errors import ConfigError
from phasewise.figures.static import write_static
from phasewise.recipes.suites.experiments import (
    DATABASE_FILE,
    ExperimentRun,
    MissingRun,
    write_experiments,
)
from phasewise.recipes.suites.figures import (
    draw_costs,
    draw_frontier,
    draw_score_and_memory,
    draw_seconds,
)
from phasewise.recipes.suites.findings import default_reference, describe_findings
from phasewise.recipes.suites.folder import StoredSuite, read_suites
from phasewise.recipes.suites.results import Ablation, ExperimentResult, compute_ablation
from phasewise.recipes.suites.settings import Experiment, Suite
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


def write_ablation_outputs(folder: Path) -> list[Path]:
    """Writes ``experiments.db``, ``plots/`` and ``RESULTS.md``; returns the reports' files.

    They are of all suites that the folder holds, from their records.

    Args:
        folder: The output folder; earlier files are replaced.
    """
    found, unreadable = read_suites(folder)
    tracked: list[ExperimentRun | MissingRun] = []
    for stored in found:
        for task in stored.study.tasks:
            tracked += _track(stored, task, collect_runs(stored.suite, stored.study, task))
    write_experiments(folder / DATABASE_FILE, tracked)
    _write_report(found, unreadable, folder, folder / RESULTS_FILE)
    return [folder / RESULTS_FILE, folder / DATABASE_FILE]


def write_suite_report(folder: Path, file: Path, experiment_type: str | None) -> None:
    """Writes the findings of an output folder's suites, with their plots, into a file.

    Args:
        folder: The output folder.
        file: Where the report goes; links to the plots are relative to it.
        experiment_type: Only suites of this type; None: all.

    Raises:
        ConfigError: The folder holds no such suite.
    """
    found, unreadable = read_suites(folder)
    types = sorted({stored.suite.experiment_type for stored in found})
    chosen = [each for each in found if experiment_type in (None, each.suite.experiment_type)]
    if not chosen:
        asked = "suite" if experiment_type is None else f"suite of type '{experiment_type}'"
        raise ConfigError(f"{folder}: holds no {asked}; types in it: {', '.join(types) or 'none'}")
    _write_report(chosen, unreadable, folder, file)


def _write_report(
    suites: Sequence[StoredSuite], unreadable: Sequence[str], folder: Path, file: Path
) -> None:
    sections: list[str] = []
    for stored in suites:
        sections.append(f"# {stored.label}\n\n{stored.suite.description}\n")
        for task in stored.study.tasks:
            runs = collect_runs(stored.suite, stored.study, task)
            sections += _describe_task(task, stored, runs, folder, file)
        sections += [f"Not run: {unit}: {why}\n" for unit, why in stored.troubles.items()]
    sections += [f"Not read: {why}\n" for why in unreadable]
    write_atomically(file, "\n".join(sections))


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


def list_failures(stored: StoredSuite) -> list[str]:
    """Returns a line for each experiment with a failed run, or without any that has a score."""
    lines = []
    for task in stored.study.tasks:
        runs = collect_runs(stored.suite, stored.study, task)
        for experiment in stored.suite.experiments:
            ended = list(runs[experiment.name].values())
            bad = [record for record in ended if record.status == "failed"]
            if not any(record.search_score is not None for record in ended):
                bad = bad or ended
                why = bad[0].message if bad else _explain_missing(stored, task, experiment)
                lines.append(f"{task}/{experiment.name}: {why}")
            elif bad:
                lines.append(f"{task}/{experiment.name}: {bad[0].config.name}: {bad[0].message}")
    return lines


def _explain_missing(stored: StoredSuite, task: str, experiment: Experiment) -> str:
    return stored.troubles.get(f"{task}/{experiment.variant}", "no run of it was found")


def _track(stored: StoredSuite, task: str, runs: Runs) -> Iterator[ExperimentRun | MissingRun]:
    kind = stored.suite.experiment_type
    for experiment in stored.suite.experiments:
        for record in runs[experiment.name].values():
            yield ExperimentRun(kind, experiment.name, record, stored.label)
        if not runs[experiment.name]:
            yield MissingRun(
                kind,
                experiment.name,
                stored.label,
                stored.study.settings.model.source,
                stored.study.tasks[task],
                experiment.variant,
                experiment.hyperparameters,
                _explain_missing(stored, task, experiment),
            )


def _write_plots(value: Ablation, folder: Path, prefix: str) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    by_rank = len({each.rank for each in value.experiments}) == len(value.experiments)
    weights = {
        "trainable": lambda each: each.trainable_parameters,
        "total": lambda each: each.total_parameters,
    }
    axis = "LoRA rank" if by_rank else "experiment"
    megabytes = {"MB": lambda each: each.adapter_mb}
    memory = "" if value.memory_order is not None else " and peak memory"
    figures = {
        "rank_comparison" if by_rank else "comparison": (
            f"{value.metric}{memory} by {axis}",
            draw_score_and_memory(value, by_rank=by_rank),
        ),
        "efficiency_frontier": (f"{value.metric} against peak memory", draw_frontier(value)),
        "training_time": ("Training time", draw_seconds(value)),
        "adapter_size": ("Size of the adapter", draw_costs(value, "adapter, MB", megabytes)),
        "parameters": ("Trained and all weights", draw_costs(value, "weights", weights)),
    }
    if value.memory_order is not None:
        del figures["efficiency_frontier"]
        (folder / f"{prefix}efficiency_frontier.png").unlink(missing_ok=True)
        (folder / f"{prefix}efficiency_frontier.svg").unlink(missing_ok=True)
    for name, (title, figure) in figures.items():
        write_static(figure, folder / f"{prefix}{name}", title=title, wide="comparison" in name)
    return [folder / f"{prefix}{name}.png" for name in figures]


def describe_suite(stored: StoredSuite) -> list[str]:
    """Returns what a suite's runs allow one to say, a line each."""
    lines = []
    for task in stored.study.tasks:
        runs = collect_runs(stored.suite, stored.study, task)
        if any(runs.values()):
            value = compute_ablation(runs, stored.suite.smallest_effect)
            reference = _find_reference(stored.suite, value)
            found = describe_findings(value, reference) if reference else []
            lines += [f"{task}: {line}" for line in found]
    return lines


def _find_reference(suite: Suite, value: Ablation) -> str:
    """Returns the suite's reference, or one that has a score; empty without any score."""
    if suite.reference in {each.name for each in value.scored}:
        return str(suite.reference)
    return default_reference(value) if value.scored else ""


def _describe_task(
    task: str, stored: StoredSuite, runs: Runs, folder: Path, file: Path
) -> list[str]:
    """Draws a task's plots and returns its section; none without a run."""
    if not any(runs.values()):
        return []
    suite, study = stored.suite, stored.study
    value = compute_ablation(runs, suite.smallest_effect)
    prefix = f"{task}_" if len(study.tasks) > 1 else ""
    place = folder / PLOTS_FOLDER / stored.label
    plots = _write_plots(value, place, prefix) if value.scored else []
    reference = _find_reference(suite, value)
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
        *[f"![{plot.stem}]({os.path.relpath(plot, file.parent)})" for plot in plots],
        "",
    ]
    return ["\n".join(lines)]


def _build_table(value: Ablation) -> Table[ExperimentResult]:
    def words(heading: str, show: Callable[[ExperimentResult], str]) -> Column[ExperimentResult]:
        return Column(heading, show, words=True)

    columns = (
        words("experiment", lambda each: each.name),
        words(f"{value.metric}, mean", lambda each: _show(each.mean, ".4f")),
        words("95 % interval", lambda each: _show_interval(each.interval)),
        words("seeds", lambda each: str(len(each.scores))),
        words("seconds", lambda each: _show_seconds(each)),
        words("peak MB", lambda each: _show(each.memory_mb, ".0f")),
        words("adapter MB", lambda each: _show(each.adapter_mb, ".2f")),
        words("trained weights", lambda each: _show(each.trainable_parameters, ",d")),
    )
    return Table(columns, tuple(value.experiments))


def _show_seconds(each: ExperimentResult) -> str:
    if each.train_seconds is None:
        return "-"
    low, high = each.spreads.get("train_seconds", (each.train_seconds,) * 2)
    return f"{each.train_seconds:.1f} ({low:.1f} to {high:.1f})"


def _show_interval(interval: Interval | None) -> str:
    return "-" if interval is None else f"{interval.low:.4f} to {interval.high:.4f}"


def _show(amount: float | None, form: str) -> str:
    return "-" if amount is None else format(amount, form)
