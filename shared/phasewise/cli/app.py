"""The ``phasewise`` program: its commands, and how an error becomes one line."""

import sys

import typer
from rich.console import Console

from phasewise.cli import (
    evaluation,
    inspect,
    models,
    phases,
    preparing,
    searching,
)
from phasewise.cli.options import LOOK_PANEL, RUN_PANEL, USE_PANEL
from phasewise.errors import ConfigError, DataError, PhasewiseError
from phasewise.extensions import recipe_modules

app = typer.Typer(
    name="phasewise",
    help="Fine-tuning studies: baselines, search, multi-seed validation, report.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
)
app.command(rich_help_panel=RUN_PANEL)(phases.baselines)
app.command(rich_help_panel=RUN_PANEL)(phases.defaults)
app.command(rich_help_panel=RUN_PANEL)(searching.search)
app.command(rich_help_panel=RUN_PANEL)(phases.validate)
app.command(rich_help_panel=RUN_PANEL)(phases.report)
app.command("prepare-data", rich_help_panel=LOOK_PANEL)(preparing.prepare_data)
app.command(rich_help_panel=LOOK_PANEL)(inspect.check)
app.command(rich_help_panel=LOOK_PANEL)(inspect.plan)
app.command(rich_help_panel=LOOK_PANEL)(inspect.status)
app.command(rich_help_panel=USE_PANEL)(models.train)
app.command("merge-adapter", rich_help_panel=USE_PANEL)(models.merge_adapter)
app.command(rich_help_panel=USE_PANEL)(models.predict)
app.command(rich_help_panel=USE_PANEL)(evaluation.evaluate)
app.command("list", rich_help_panel=LOOK_PANEL)(inspect.list_registry)
for command in recipe_modules("command"):  # one of a core command's name takes its place
    command.register(app)

#: Exit codes: wrong input, a run that failed for another reason, interrupted.
EXIT_INPUT, EXIT_FAILURE, EXIT_INTERRUPTED = 2, 1, 130


def main() -> None:
    """Runs the program; errors made on purpose are printed in one line, without a traceback."""
    try:
        app()
    except (ConfigError, DataError) as error:
        _exit(error, EXIT_INPUT)
    except PhasewiseError as error:
        _exit(error, EXIT_FAILURE)
    except KeyboardInterrupt:
        _exit("interrupted; run the same command again to continue", EXIT_INTERRUPTED)


def _exit(message: object, code: int) -> None:
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    console.print("error:", style="bold red", end=" ")
    console.print(str(message), markup=False)
    sys.exit(code)
