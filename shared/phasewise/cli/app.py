"""The ``phasewise`` program: its commands, and how an error becomes one line."""

import errno
import os
import signal
import sys
from typing import Annotated

import typer
from rich.console import Console
from typer.exceptions import TyperException

from phasewise import __version__
from phasewise.cli import (
    EXIT_INTERRUPTED,
    INTERRUPTED,
    checking,
    cleaning,
    dashboard,
    doctor,
    evaluation,
    inspect,
    merging,
    models,
    phases,
    preparing,
    running,
    schemas,
    searching,
    status,
    syncing,
)
from phasewise.cli.options import LOOK_PANEL, RUN_PANEL, START_PANEL, USE_PANEL
from phasewise.errors import ConfigError, DataError, PhasewiseError
from phasewise.extensions import recipe_modules
from phasewise.tuning.stopping import BusyError, StoppedError

app = typer.Typer(
    name="phasewise",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_show_locals=False,
)


def _tell_version(asked: bool) -> None:
    if asked:
        typer.echo(f"phasewise {__version__}")
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_tell_version, help="Print it.")
    ] = False,
) -> None:
    """Fine-tuning studies: baselines, search, multi-seed validation, report.

    Exit codes: 0 done, 1 a run failed or a file could not be written, 2 wrong settings, data or
    options, 75 stopped after some progress (the same command goes on), 130 interrupted.
    """


app.command(
    rich_help_panel=START_PANEL,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)(running.run)
app.command(rich_help_panel=START_PANEL)(doctor.doctor)
app.command(rich_help_panel=RUN_PANEL)(phases.baselines)
app.command(rich_help_panel=RUN_PANEL)(phases.defaults)
app.command(rich_help_panel=RUN_PANEL)(searching.search)
app.command(rich_help_panel=RUN_PANEL)(phases.validate)
app.command(rich_help_panel=RUN_PANEL)(phases.report)
app.command(rich_help_panel=RUN_PANEL)(merging.merge)
app.command(rich_help_panel=LOOK_PANEL)(syncing.sync)
app.command("prepare-data", rich_help_panel=LOOK_PANEL)(preparing.prepare_data)
app.command(rich_help_panel=LOOK_PANEL)(checking.check)
app.command(rich_help_panel=LOOK_PANEL)(inspect.plan)
app.command(rich_help_panel=LOOK_PANEL)(status.status)
app.command(rich_help_panel=LOOK_PANEL)(dashboard.dashboard)
app.command(rich_help_panel=LOOK_PANEL)(cleaning.gc)
app.command(rich_help_panel=USE_PANEL)(models.train)
app.command("merge-adapter", rich_help_panel=USE_PANEL)(models.merge_adapter)
app.command(rich_help_panel=USE_PANEL)(models.predict)
app.command(rich_help_panel=USE_PANEL)(evaluation.evaluate)
app.command(rich_help_panel=LOOK_PANEL)(schemas.schemas)
app.command("list", rich_help_panel=LOOK_PANEL)(inspect.list_registry)
for command in recipe_modules("command"):  # one of a core command's name takes its place
    command.register(app)

#: Exit codes beside 0: a run that failed, wrong input (settings, data, options).
EXIT_FAILURE, EXIT_INPUT = 1, 2
#: The same command goes on (EX_TEMPFAIL of sysexits.h): a cluster's job is put back in the queue.
EXIT_AGAIN = 75


def main() -> None:
    """Runs the program; what a user can cause is printed in one line, without a traceback."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        code = app(args=sys.argv[1:] or ["--help"], standalone_mode=False)
    except TyperException as error:
        _exit(_describe_usage(error), EXIT_INPUT)
    except (ConfigError, DataError) as error:
        _exit(error, EXIT_INPUT)
    except StoppedError as error:
        _exit(error, EXIT_AGAIN if error.made_progress else EXIT_FAILURE)
    except BusyError as error:
        _exit(error, EXIT_AGAIN)
    except PhasewiseError as error:
        _exit(error, EXIT_FAILURE)
    except BrokenPipeError:  # whoever reads the output, such as `head`, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_FAILURE)
    except OSError as error:
        _exit(_describe_os_error(error), EXIT_FAILURE)
    except (KeyboardInterrupt, typer.Abort):
        _exit(INTERRUPTED, EXIT_INTERRUPTED)
    if code == EXIT_INTERRUPTED:  # typer has caught it
        _exit(INTERRUPTED, EXIT_INTERRUPTED)
    sys.exit(code)


def _describe_usage(error: TyperException) -> str:
    """Returns what is wrong with the command line, and where its options are listed."""
    text = getattr(error, "format_message", error.__str__)()
    message = " ".join(text.replace("Value error, ", "").split()).rstrip(".")
    context = getattr(error, "ctx", None)
    return f"{message}; see {context.command_path} --help" if context else message


def _describe_os_error(error: OSError) -> str:
    """Returns what the system refused, and where it says so.

    Raises:
        OSError: The error itself, if it names neither a file nor a full disk.
    """
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        where = error.filename or "the disk of the results or of the cache"
        return (
            f"{where}: {error.strerror}; free some and run the same command again: it keeps what "
            "has ended"
        )
    if error.filename is None:
        raise error
    return f"{error.filename}: {error.strerror}"


def _exit(message: object, code: int) -> None:
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    for line in str(message).splitlines():  # one per problem
        console.print("error:", style="bold red", end=" ")
        console.print(line, markup=False)
    sys.exit(code)
