"""The ``phasewise`` program: its commands, and how an error becomes one line."""

import sys

import typer
from rich.console import Console

from phasewise.cli import (
    ablations,
    benchmarking,
    evaluation,
    inspect,
    models,
    phases,
    preparing,
    presets,
    searching,
)
from phasewise.errors import ConfigError, DataError, PhasewiseError

app = typer.Typer(
    name="phasewise",
    help="Fine-tuning studies: baselines, search, multi-seed validation, report.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
)
_RUN, _LOOK, _USE = "Run (what the Snakemake rules call)", "Look", "Use the result"
app.command(rich_help_panel=_RUN)(phases.baselines)
app.command(rich_help_panel=_RUN)(phases.defaults)
app.command(rich_help_panel=_RUN)(searching.search)
app.command(rich_help_panel=_RUN)(phases.validate)
app.command(rich_help_panel=_RUN)(phases.report)
app.command(rich_help_panel=_RUN)(ablations.ablate)
app.command(rich_help_panel=_RUN)(presets.preset)
app.command("prepare-data", rich_help_panel=_LOOK)(preparing.prepare_data)
app.command(rich_help_panel=_LOOK)(inspect.check)
app.command(rich_help_panel=_LOOK)(inspect.plan)
app.command(rich_help_panel=_LOOK)(inspect.status)
app.command(rich_help_panel=_USE)(models.train)
app.command("merge-adapter", rich_help_panel=_USE)(models.merge_adapter)
app.command(rich_help_panel=_USE)(models.predict)
app.command(rich_help_panel=_USE)(evaluation.evaluate)
app.command("benchmark-samplers", rich_help_panel=_USE)(benchmarking.benchmark_samplers)
app.command("list", rich_help_panel=_LOOK)(inspect.list_registry)

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
