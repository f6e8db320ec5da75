"""``phasewise schemas``: what an editor needs to complete and check settings files."""

import json
from pathlib import Path
from typing import Annotated

import typer


def schemas(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Made if it is not there.")],
) -> None:
    """Write JSON schemas of study, task, method and space files, for editors."""
    from phasewise.records import write_atomically
    from phasewise.settings.schemas import SCHEMAS, file_schema

    for kind in SCHEMAS:
        path = folder / f"{kind}.json"
        write_atomically(path, json.dumps(file_schema(kind), indent=1) + "\n")
        typer.echo(f"{path}: # yaml-language-server: $schema={path}")
