"""``phasewise plan --pilot``: the core's plan, and what a pilot measured."""

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from phasewise.cli import inspect
from phasewise.cli.options import DEFAULT_STUDY, LOOK_PANEL, JsonOption, ShardOption, StudyOption
from phasewise.errors import ConfigError
from phasewise.settings import ALL_SHARD, Study, load_study


def register(app: typer.Typer) -> None:
    """Puts a plan that knows ``--pilot`` in place of the core's."""
    app.command(rich_help_panel=LOOK_PANEL)(plan)


def plan(
    study: StudyOption = DEFAULT_STUDY,
    vm: ShardOption = ALL_SHARD,
    difference: inspect.DifferenceOption = 0.01,
    cards: inspect.CardsOption = False,
    pilot: Annotated[
        bool, typer.Option("--pilot", help="Measure short runs: time, memory and disk to expect.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Print how many runs a shard needs, what trains them, how long, and what it can detect."""
    if pilot and as_json:
        raise ConfigError("--json gives the plan alone; leave out --pilot")
    inspect.plan(study, vm, difference, cards, as_json)
    if pilot:
        loaded = load_study(study)
        print_pilots(loaded, loaded.units_of(vm))


def print_pilots(study: Study, units: list[tuple[str, str]], *, validates: bool = True) -> None:
    """Measures units by short runs, and prints the time, memory and disk to expect of them.

    Args:
        study: The study.
        units: Its tasks and methods.
        validates: Whether Phase 2 is to be made too.
    """
    from phasewise.recipes.pilot.measure import run_pilot

    table = Table("unit", "runs", "hours (95 %)", "peak MB", "disk MB", title="measured by pilots")
    for task, method in units:
        found = run_pilot(study, task, method, validates=validates)
        low, high = found.seconds.interval
        least, most = found.peak_memory_mb
        table.add_row(
            f"{task}/{method}",
            str(found.runs),
            f"{found.seconds.total / 3600:.2f} ({low / 3600:.2f} to {high / 3600:.2f})",
            f"{least:.0f} to {most:.0f}",
            f"{found.disk_mb:.1f} ± {found.disk_error_mb:.1f}",
        )
    console = Console()
    console.print(table)
    console.print("Hours are one run after another on one worker of this machine.")
