"""What commands do with a study that they have written: tell of its data, preview it, search it."""

from pathlib import Path
from shlex import quote
from typing import Any

import typer

from phasewise.cli.inspect import plan
from phasewise.cli.searching import search_unit
from phasewise.runs import build_data, build_seeds
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


def run_search(study: Study, task: str, method: str, output_dir: Path, prefix: str = "") -> Any:
    """Runs Phase 0 and Phase 1 of a unit, or finishes them; returns its optimum.

    Progress lines go to ``output_dir/logs/``, to a file named for the unit, after ``prefix``.
    """
    log = output_dir / "logs" / f"{prefix}{task}_{method}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    return search_unit(study, task, method, log, with_defaults=True)
