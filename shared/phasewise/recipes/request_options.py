"""The options of the commands that write a study of their own, and what they ask for together."""

from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from phasewise.cli.inspect import plan
from phasewise.errors import ConfigError, suggest_nearest
from phasewise.recipes.request import StudyRequest
from phasewise.runs import build_seeds, build_unit
from phasewise.settings import ALL_SHARD, Hyperparameters, Study, load_study
from phasewise.settings.space_names import short_names

_SOURCE = "Model and data"


def _option(text: str, *names: str) -> Any:
    return typer.Option(*names, help=text, rich_help_panel=_SOURCE)


StudySource = Annotated[
    Path | None, _option("Study that model and tasks come from.", "--study", "-s")
]
ModelSource = Annotated[
    str | None, _option("Hub id, local folder or package:NAME.", "--base-model")
]
TaskName = Annotated[str | None, _option("A task of `phasewise list tasks`.", "--task", "-t")]
DatasetFile = Annotated[
    Path | None, _option("File that replaces the task's data; see prepare-data.", "--dataset")
]
Layers = Annotated[int | None, _option("Keep the model's first n layers.", "--layers")]
TrainRows = Annotated[int | None, _option("Rows of the train sample.", "--train-rows")]
SearchRows = Annotated[int | None, _option("Rows of the search set.", "--search-rows")]
ReportRows = Annotated[int | None, _option("Rows of the report set.", "--report-rows")]
MaxLength = Annotated[int | None, _option("Tokens of a text.", "--max-length")]
Device = Annotated[str | None, _option("auto, cpu or cuda.", "--device")]
Seed = Annotated[int | None, _option("Of all random streams.", "--seed")]
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
        number = yaml.safe_load(value)
        if isinstance(number, str):  # YAML 1.1 takes 1e-5 for a text
            try:
                number = float(number)
            except ValueError:
                number = value.strip()
        fixed[names[name.strip()]] = number
    return fixed


def tell_data(study: Study) -> None:
    """Reads and checks all data of a study, and prints what a person should know about them.

    Instruction tasks are tokenised for it, once for all runs: how many prompts and responses
    ``max_length`` cuts is told before anything is trained on them.

    Raises:
        DataError: The data are missing, malformed, too few, or shared between sets.
    """
    from phasewise.tasks.data import check_task_data, load_task_data

    for name, task in study.tasks.items():
        unit = build_unit(study, name, next(iter(study.methods)))
        messages = check_task_data(task, unit.data_dir, unit.split_seed).messages
        if task.kind == "instruction":
            from phasewise.methods.models import load_tokenizer

            seeds = build_seeds(study.settings.seed, "phase0", name, 0)
            tokenizer = load_tokenizer(study.settings.model)
            messages = load_task_data(unit, tokenizer, seeds.subset).messages
        for message in messages:
            typer.echo(f"{name}: {message}")


def preview(path: Path, *, pilot: bool) -> None:
    """Prints the plan of a study that a command has written, and what the command runs of it."""
    plan(path, ALL_SHARD)
    if pilot:
        from phasewise.recipes.pilot.command import print_pilots

        study = load_study(path)
        print_pilots(study, study.units_of(ALL_SHARD))
    typer.echo(
        f"this command runs Phases 0 and 1; Phase 2 of a unit: phasewise validate --study {path}"
    )


def run_search(study: Study, task: str, method: str, output_dir: Path, prefix: str = "") -> Any:
    """Runs Phase 0 and Phase 1 of a unit, or finishes them; returns its optimum.

    Progress lines go to ``output_dir/logs/``, to a file named for the unit, after ``prefix``.
    """
    log = output_dir / "logs" / f"{prefix}{task}_{method}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    from phasewise.cli.phases import tracking
    from phasewise.tuning.phases import run_defaults
    from phasewise.tuning.search import search_unit

    with tracking(study) as mirror:
        run_defaults(study, task, method, log=log, on_record=mirror)
        return search_unit(study, task, method, log=log, on_record=mirror)
