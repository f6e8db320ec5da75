"""``phasewise prepare-data``: sample, split and de-duplicate a data set into JSONL files."""

import os
from pathlib import Path
from typing import Annotated

import typer

from phasewise.errors import ConfigError


def prepare_data(
    dataset: Annotated[str, typer.Option(help="A task of `phasewise list tasks`.")],
    num_samples: Annotated[int, typer.Option(help="Rows to draw; -1: all.")] = -1,
    train_test_split: Annotated[
        float | None, typer.Option(help="Share of the train part, such as 0.9; none: no split.")
    ] = None,
    output_dir: Annotated[Path, typer.Option("--output-dir", "-o")] = Path("data"),
    input_file: Annotated[
        Path | None, typer.Option("--input", help="Rows of the task's form, instead of its source.")
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Of the source.  [default: the task's train split]")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of sample and split.")] = 0,
) -> None:
    """Write a data set as JSONL: without duplicates, sampled, split, with a manifest."""
    from phasewise.settings import load_task
    from phasewise.tasks.files import read_file
    from phasewise.tasks.preparing import prepare_data as prepare

    if input_file is not None and split is not None:
        raise ConfigError("--split names a split of the task's source; --input has none")
    folder = os.environ.get("PHASEWISE_DATA")
    prepared = prepare(
        load_task(dataset),
        output_dir=output_dir,
        num_samples=num_samples,
        train_share=train_test_split,
        split=split,
        seed=seed,
        data_dir=Path(folder).resolve() if folder else None,
        table=None if input_file is None else read_file(input_file),
    )
    typer.echo(f"{prepared.rows_read} rows read, {prepared.duplicates} duplicates dropped")
    for path in (*prepared.files.values(), prepared.manifest):
        typer.echo(str(path))
