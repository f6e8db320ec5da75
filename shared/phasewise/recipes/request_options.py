"""The options of the commands that write a study of their own, and what they ask for together."""

from pathlib import Path
from typing import Annotated, Any

import typer

from phasewise.cli.options import BASE_MODEL, DEVICE, LAYERS, MAX_LENGTH, SEED
from phasewise.errors import ConfigError, suggest_nearest
from phasewise.recipes.request import StudyRequest
from phasewise.settings import Hyperparameters
from phasewise.settings.base import read_scalar
from phasewise.settings.space_names import short_names

_SOURCE = "Model and data"


def _option(text: str, *names: str) -> Any:
    return typer.Option(*names, help=text, rich_help_panel=_SOURCE)


StudySource = Annotated[
    Path | None, _option("Study that model and tasks come from.", "--study", "-s")
]
ModelSource = Annotated[str | None, _option(*BASE_MODEL)]
TaskName = Annotated[str | None, _option("A task of `phasewise list tasks`.", "--task", "-t")]
DatasetFile = Annotated[
    Path | None, _option("File that replaces the task's data; see prepare-data.", "--dataset")
]
Layers = Annotated[int | None, _option(*LAYERS)]
TrainRows = Annotated[int | None, _option("Rows of the train sample.", "--train-rows")]
SearchRows = Annotated[int | None, _option("Rows of the search set.", "--search-rows")]
ReportRows = Annotated[int | None, _option("Rows of the report set.", "--report-rows")]
MaxLength = Annotated[int | None, _option(*MAX_LENGTH)]
Device = Annotated[str | None, _option(*DEVICE)]
Seed = Annotated[int | None, _option(*SEED)]
Fixed = Annotated[
    list[str] | None,
    _option("Hyperparameter held at a value, NAME=VALUE; may be repeated.", "--fixed"),
]
OutputDir = Annotated[Path, typer.Option("--output-dir", "-o", help="Everything goes below it.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Write and print the plan, train nothing.")]
Estimate = Annotated[
    bool,
    typer.Option("--estimate", help="Measure a short pilot: time, memory and disk; then stop."),
]


def gather(given: dict[str, Any]) -> StudyRequest:
    """Returns what a command's options ask for.

    Args:
        given: Its arguments by name.

    Raises:
        ConfigError: A ``--fixed`` is not NAME=VALUE with a known name.
    """
    names = [name for name in StudyRequest.__dataclass_fields__ if name != "fixed"]
    return StudyRequest(
        **{name: given[name] for name in names}, fixed=read_fixed(given.get("fixed") or [])
    )


def read_fixed(texts: list[str]) -> dict[str, Any]:
    """Returns hyperparameter to value of ``NAME=VALUE`` texts."""
    fixed = {}
    names = {**{name: name for name in Hyperparameters.model_fields}, **short_names()}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or name.strip() not in names:
            near = suggest_nearest(name.strip(), names) if equals else ""
            raise ConfigError(
                f"--fixed {text}: expected NAME=VALUE with a hyperparameter's name{near}"
            )
        fixed[names[name.strip()]] = read_scalar(value)
    return fixed
