"""The options that several commands share; each is declared once."""

import json
from pathlib import Path
from typing import Annotated

import typer

from phasewise.cli import prewarm
from phasewise.errors import ConfigError, suggest_nearest
from phasewise.settings import Study, load_study
from phasewise.steps import check_owner

StudyOption = Annotated[
    Path, typer.Option("--study", "-s", help="The study's YAML file.", show_default=True)
]
TaskOption = Annotated[str, typer.Option("--task", "-t", help="A task of the study.")]
MethodOption = Annotated[str, typer.Option("--method", "-m", help="A method of the study.")]
LogOption = Annotated[
    Path | None, typer.Option("--log", help="File that the progress lines are appended to.")
]
ShardOption = Annotated[
    str, typer.Option("--vm", help="Shard of the study; `all` is every task of it.")
]

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]

#: Model and machine, in the same words wherever a study is made: help text and name of an option.
BASE_MODEL = ("Hub id, local folder or package:NAME.", "--base-model")
LAYERS = ("Keep the model's first n layers.", "--layers")
MAX_LENGTH = ("Tokens of a text.", "--max-length")
SEED = ("Of all random streams.", "--seed")
DEVICE = ("auto, cpu or cuda.", "--device")
#: Where the help lists a command.
START_PANEL = "Start"
RUN_PANEL = "Run (what the Snakemake rules call)"
LOOK_PANEL, USE_PANEL = "Look", "Use the result"

#: The default study of a clone, relative to its root.
DEFAULT_STUDY = Path(prewarm.DEFAULT_STUDY)


def print_json(content: object) -> None:
    """Prints what a program is to read; paths as texts."""
    typer.echo(json.dumps(content, indent=2, ensure_ascii=False, default=str))


def load_owned(path: Path) -> Study:
    """Returns a study whose folder holds no other study's results.

    Raises:
        ConfigError: See ``load_study`` and ``check_owner``.
    """
    study = load_study(path)
    check_owner(study)
    return study


def only_task(study: Study) -> str:
    """Returns the name of a study's only task.

    Raises:
        ConfigError: It has several.
    """
    if len(study.tasks) > 1:
        raise ConfigError(f"{study.path}: several tasks; give --task, {' or '.join(study.tasks)}")
    return next(iter(study.tasks))


def require_unit(study: Study, task: str, method: str | None = None) -> None:
    """Checks that a task, and a method if given, are part of the study.

    Raises:
        ConfigError: One is not; the nearest right name is told.
    """
    if task not in study.tasks:
        raise ConfigError(
            f"{study.path}: the study has no task '{task}'{suggest_nearest(task, study.tasks)}"
        )
    if method is not None and method not in study.methods:
        near = suggest_nearest(method, study.methods)
        raise ConfigError(f"{study.path}: the study has no method '{method}'{near}")
