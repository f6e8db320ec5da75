"""``phasewise init``: a project of one's own, and a first study from a file of rows."""

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from phasewise.cli.options import BASE_MODEL, START_PANEL
from phasewise.errors import ConfigError


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(rich_help_panel=START_PANEL)(init)


def init(
    folder: Annotated[
        Path | None, typer.Argument(metavar="DIR", help="New project, or where the study goes.")
    ] = None,
    csv: Annotated[
        Path | None, typer.Option(help="Rows of a first study: CSV, TSV, JSONL or Parquet.")
    ] = None,
    label: Annotated[str | None, typer.Option(help="Column of the classes.")] = None,
    response: Annotated[
        str | None, typer.Option(help="Column of the answers that a language model is to learn.")
    ] = None,
    text: Annotated[
        list[str] | None,
        typer.Option(help="Text column; twice for a pair. Default: the longest or usual one."),
    ] = None,
    validation: Annotated[
        Path | None, typer.Option(help="Default: dev or valid.csv beside train.csv, if any.")
    ] = None,
    test: Annotated[
        Path | None, typer.Option(help="Report set. Default: test.csv beside it, if it has labels.")
    ] = None,
    base_model: Annotated[str | None, typer.Option(BASE_MODEL[1], help=BASE_MODEL[0])] = None,
) -> None:
    """Make a project of your own (Snakefile, profiles, config), a study from a CSV, or both."""
    if folder is None and csv is None:
        raise ConfigError(
            "expected `init DIR` for a project, `init --csv train.csv --label COLUMN` for a study"
        )
    if label is not None and response is not None:
        raise ConfigError("expected --label of classes or --response of answers, got both")
    if csv is None:
        from phasewise.recipes.project.layout import write_project

        for path in write_project(Path(folder or ".")):
            typer.echo(path)
        typer.echo(f"next: cd {quote(str(folder))} && phasewise plan")
        return
    from phasewise.recipes.project.first_study import FirstRequest, write_first_study

    others = {"validation": validation, "test": test}
    request = FirstRequest(csv, label or "", text or (), others, base_model, response or "")
    path = write_first_study(request, folder or Path())
    typer.echo(path)
    typer.echo(f"next: phasewise check --study {quote(str(path))}")
