"""What commands do with a study that they have written: tell of its data, preview it, search it."""

from pathlib import Path
from shlex import quote
from typing import Any

import typer

from phasewise.cli.inspect import plan
from phasewise.cli.searching import search_unit
from phasewise.runs import UnitPaths, build_data, build_seeds
from phasewise.settings import ALL_SHARD, Study, load_study


def tell_data(study: Study) -> None:
    """Reads and checks all data of a study, and prints what a person should know about them.

    Instruction tasks are tokenized for it, once for all runs: how many prompts and responses
    ``max_length`` cuts is told before anything is trained on them.

    Raises:
        DataError: The data are missing, malformed, too few, or shared between sets.
    """
    from phasewise.tasks.data import check_task_data, load_task_data

    for name, task in study.tasks.items():
        data = build_data(study, name)
        messages = check_task_data(task, data.data_dir, data.split_seed).messages
        if task.traits.generates:
            from phasewise.methods.models import load_tokenizer

            seeds = build_seeds(study.settings.seed, "phase0", name, 0)
            tokenizer = load_tokenizer(study.settings.model)
            messages = load_task_data(data, tokenizer, seeds.subset).messages
        for message in messages:
            typer.echo(f"{name}: {message}")


def preview(path: Path, *, pilot: bool) -> None:
    """Prints the plan of a study that a command has written, and what the command runs of it."""
    plan(path, ALL_SHARD)
    if pilot:
        from phasewise.recipes.pilot.command import print_pilots

        study = load_study(path)
        print_pilots(study, study.units_of(ALL_SHARD), validates=False)
    typer.echo(
        f"this command runs Phases 0 and 1; Phase 2 of a unit: "
        f"phasewise validate --study {quote(str(path))}"
    )


def describe_verdict(study: Study, optimum: Any) -> str:
    """Returns whether a search has beaten the published default, by its fresh seeds.

    Student's t on the difference of two means, with the degrees of freedom of the smaller sample
    (at least as wide as Welch's).
    """
    from scipy.stats import t

    from phasewise.summaries import read_phase_summary

    summary = read_phase_summary(UnitPaths(study, optimum.task, optimum.method).summary("phase0"))
    base = None if summary is None else summary.search
    later = f"phasewise validate --study {quote(str(study.path))} has the last word"
    own, of_base = optimum.confirmed_standard_error, base.standard_error if base else None
    if base is None or optimum.improvement is None or own is None or of_base is None:
        return f"Verdict: one seed is too few to hold the best trial against the default; {later}."
    seeds = min(optimum.confirmed_seeds, len(base.scores))
    half = float(t.ppf(0.975, seeds - 1)) * (own**2 + of_base**2) ** 0.5
    low, high = optimum.improvement - half, optimum.improvement + half
    word = "better than" if low > 0 else "worse than" if high < 0 else "not told apart from"
    return (
        f"Verdict on the search set: {word} the published default, {optimum.metric} "
        f"{optimum.improvement:+.4f} (95 % interval {low:+.4f} to {high:+.4f}, higher is better; "
        f"{optimum.confirmed_seeds} against {len(base.scores)} seeds); {later}."
    )


def run_search(study: Study, task: str, method: str, output_dir: Path, prefix: str = "") -> Any:
    """Runs Phase 0 and Phase 1 of a unit, or finishes them; returns its optimum.

    Progress lines go to ``output_dir/logs/``, to a file named for the unit, after ``prefix``.
    """
    log = output_dir / "logs" / f"{prefix}{task}_{method}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    return search_unit(study, task, method, log, with_defaults=True)
