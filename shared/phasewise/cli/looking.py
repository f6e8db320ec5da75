"""The commands that only look: registries, a study's plan, the state of its units."""

from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from phasewise.cli.options import DEFAULT_STUDY, ShardOption, StudyOption
from phasewise.runs import build_unit
from phasewise.settings import ALL_SHARD, REGISTRY, Study, load_study, read_yaml, registry_names

Registry = Literal["tasks", "methods", "spaces", "studies"]


def list_registry(
    kind: Annotated[Registry | None, typer.Argument(help="One of them; default all.")] = None,
) -> None:
    """Print the tasks, methods, search spaces and studies that a study can name."""
    console = Console()
    for folder in [kind] if kind else ["tasks", "methods", "spaces", "studies"]:
        table = Table("name", "description", title=folder, title_justify="left", box=None)
        for name in registry_names(folder):
            content = read_yaml(REGISTRY / folder / f"{name}.yaml")
            table.add_row(name, str(content.get("description", "")))
        console.print(table)


def check(study: StudyOption = DEFAULT_STUDY) -> None:
    """Check a study file, everything it names, and that its local data are there."""
    loaded = load_study(study)
    for task, method in loaded.units_of(ALL_SHARD):
        build_unit(loaded, task, method)
    typer.echo(f"{study}: {len(loaded.tasks)} tasks x {len(loaded.methods)} methods, all good")


def plan(study: StudyOption = DEFAULT_STUDY, vm: ShardOption = ALL_SHARD) -> None:
    """Print how many runs a study needs on a shard, unit by unit, without running anything."""
    loaded = load_study(study)
    units = loaded.units_of(vm)
    table = Table("task", "method", "phase 0", "trials", "confirm", "phase 2", title=vm)
    for task, method in units:
        table.add_row(task, method, *(str(count) for count in _count_runs(loaded)))
    console = Console()
    console.print(table)
    console.print(f"{len(units)} units, {len(units) * sum(_count_runs(loaded))} trainings")


def status(study: StudyOption = DEFAULT_STUDY, vm: ShardOption = ALL_SHARD) -> None:
    """Print where every unit stands: phase, trials, best value so far, time left."""
    loaded = load_study(study)
    from phasewise.report.status import collect_status

    table = Table("unit", "phase", "done", "best", "running", "left")
    for unit in collect_status(loaded, loaded.units_of(vm)):
        best = "-" if unit.best is None else f"{unit.best:.3f}"
        left = "-" if unit.seconds_left is None else f"{unit.seconds_left / 60:.0f} min"
        running = "yes" if unit.running else "no"
        table.add_row(unit.unit, unit.phase, f"{unit.done}/{unit.total}", best, running, left)
    Console().print(table)


def _count_runs(study: Study) -> tuple[int, int, int, int]:
    settings = study.settings
    confirm = min(settings.search.confirm_top, settings.search.trials)
    return (
        settings.baselines.seeds,
        settings.search.trials,
        confirm * settings.search.confirm_seeds,
        settings.validation.seeds,
    )
