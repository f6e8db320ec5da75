"""``phasewise search``: Phase 1 of a study's unit, or of a study made from files and flags."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import typer

from phasewise.cli.asking import tell_data
from phasewise.cli.options import DEFAULT_STUDY, LogOption, require_unit
from phasewise.cli.phases import tracking
from phasewise.errors import ConfigError
from phasewise.settings import Study, load_study

_UNIT, _FILES = "A unit of a study", "Files instead of a study"


def _flag(text: str, *names: str) -> Any:
    """Declares an option of the second way; the guide writes its names with underscores."""
    every = [spelling for name in names for spelling in (name, f"--{name[2:].replace('-', '_')}")]
    return typer.Option(*dict.fromkeys(every), help=text, rich_help_panel=_FILES)


def search(
    study: Annotated[
        Path | None,
        typer.Option(
            "--study",
            "-s",
            help=f"The study's YAML file.  [default: {DEFAULT_STUDY}]",
            rich_help_panel=_UNIT,
        ),
    ] = None,
    task: Annotated[
        str | None, typer.Option("--task", "-t", help="A task of it.", rich_help_panel=_UNIT)
    ] = None,
    method: Annotated[
        str | None,
        typer.Option("--method", "-m", help="A method of the study; with files: default lora."),
    ] = None,
    base_model: Annotated[
        str | None, _flag("Hub id, local folder or package:NAME.", "--base-model")
    ] = None,
    train_file: Annotated[Path | None, _flag("JSONL, CSV, TSV or Parquet.", "--train-file")] = None,
    validation_file: Annotated[
        Path | None, _flag("Trials are scored on it.", "--validation-file")
    ] = None,
    output_dir: Annotated[
        Path | None, _flag("Everything is written below it.", "--output-dir")
    ] = None,
    test_file: Annotated[
        Path | None,
        _flag(
            "For final scores only; none: a tenth of the train file is set aside.", "--test-file"
        ),
    ] = None,
    num_trials: Annotated[
        int | None, _flag("Trials in all.  [default: 10]", "--num-trials")
    ] = None,
    objective: Annotated[
        str | None,
        _flag(
            "A metric (eval_loss, eval_accuracy …), multi:a,b or pareto:a,b; beside metrics also "
            "train_seconds, memory_gb, adapter_mb, trainable_parameters.",
            "--objective",
            "--optimization-objective",
        ),
    ] = None,
    weights: Annotated[
        str | None, _flag("Of multi:a,b, such as 0.7,0.3.", "--weights", "--optimization-weights")
    ] = None,
    search_space: Annotated[
        str | None,
        _flag("YAML file, or a name of `phasewise list spaces`.", "--search-space"),
    ] = None,
    time_budget_hours: Annotated[
        float | None, _flag("Start no further trial after it.", "--time-budget-hours")
    ] = None,
    pruning_factor: Annotated[
        float | None,
        _flag("Prune by successive halving (ASHA) that keeps one in so many.", "--pruning-factor"),
    ] = None,
    parallel_trials: Annotated[
        int | None, _flag("Trials at the same time.", "--parallel-trials")
    ] = None,
    memory_constraint: Annotated[
        float | None, _flag("Largest peak of a trial, GB.", "--memory-constraint")
    ] = None,
    text_column: Annotated[
        list[str] | None, _flag("Text column; twice for a pair.", "--text-column")
    ] = None,
    label_column: Annotated[str | None, _flag("Column of the class.", "--label-column")] = None,
    response_column: Annotated[
        str | None, _flag("Column of the response (instruction data).", "--response-column")
    ] = None,
    prompt_template: Annotated[
        str | None, _flag("Prompt with {column} names.  [default: Alpaca's]", "--prompt-template")
    ] = None,
    max_length: Annotated[int | None, _flag("Tokens of a text.", "--max-length")] = None,
    layers: Annotated[int | None, _flag("Keep the model's first n layers.", "--layers")] = None,
    seed: Annotated[int | None, _flag("Of all random streams.", "--seed")] = None,
    device: Annotated[str | None, _flag("auto, cpu or cuda.", "--device")] = None,
    log: LogOption = None,
) -> None:
    """Phase 1: the hyperparameter search of a unit, or of files; run it again to resume."""
    given = dict(locals())
    flags = _Flags(**{field.name: given[field.name] for field in fields(_Flags)})
    used = [name for name, value in vars(flags).items() if value is not None]
    if used and (study is not None or task is not None):
        raise ConfigError(
            f"--{used[0].replace('_', '-')} belongs to a search of files, and "
            f"{'--study' if study is not None else '--task'} to that of a study: give either "
            "--study, --task and --method, or --base-model, --train-file, --validation-file and "
            "--output-dir; budgets and objectives of a study stand in its file"
        )
    if used:
        _search_files(flags, method or "lora", log)
        return
    if task is None or method is None:
        raise ConfigError(
            "search needs --task and --method of a study, or --base-model, --train-file, "
            "--validation-file and --output-dir; see phasewise search --help"
        )
    loaded = load_study(study or DEFAULT_STUDY)
    require_unit(loaded, task, method)
    _search_unit(loaded, task, method, log)


@dataclass(frozen=True)
class _Flags:
    """The options of a search of files; None: not given."""

    base_model: str | None
    train_file: Path | None
    validation_file: Path | None
    output_dir: Path | None
    test_file: Path | None
    num_trials: int | None
    objective: str | None
    weights: str | None
    search_space: str | None
    time_budget_hours: float | None
    pruning_factor: float | None
    parallel_trials: int | None
    memory_constraint: float | None
    text_column: list[str] | None
    label_column: str | None
    response_column: str | None
    prompt_template: str | None
    max_length: int | None
    layers: int | None
    seed: int | None
    device: str | None

    def require(self, name: str) -> Any:
        """Returns an option that a search of files cannot do without."""
        value = getattr(self, name)
        if value is None:
            raise ConfigError(f"a search of files needs --{name.replace('_', '-')} too")
        return value

    def search_section(self) -> dict[str, Any]:
        """Returns the keys of the study's ``search`` section."""
        section: dict[str, Any] = {
            "trials": self.num_trials,
            "time_budget_hours": self.time_budget_hours,
            "memory_constraint_gb": self.memory_constraint,
            "parallel_trials": self.parallel_trials,
            "objective_weights": _read_weights(self.weights),
        }
        if self.pruning_factor is not None:
            if not self.pruning_factor.is_integer():
                raise ConfigError(
                    f"--pruning-factor {self.pruning_factor:g}: expected a whole number from 2; "
                    "one in so many trials goes on"
                )
            section |= {"pruner": "asha", "pruning_factor": int(self.pruning_factor)}
        return {key: value for key, value in section.items() if value is not None}

    def machine_section(self) -> dict[str, Any]:
        """Returns the keys of the study's ``machine`` section."""
        machine = {"device": self.device, "workers": self.parallel_trials}
        return {key: value for key, value in machine.items() if value is not None}


def _read_weights(text: str | None) -> list[float] | None:
    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise ConfigError(f"--weights {text}: expected numbers such as 0.7,0.3") from error


def _search_files(flags: _Flags, method: str, log: Path | None) -> None:
    from phasewise.report.search_outputs import describe_result, write_search_outputs
    from phasewise.tuning.file_study import TASK, FileStudy, write_file_study
    from phasewise.tuning.phases import run_defaults

    output_dir: Path = flags.require("output_dir")
    path = write_file_study(
        FileStudy(
            base_model=flags.require("base_model"),
            train_file=flags.require("train_file"),
            validation_file=flags.require("validation_file"),
            output_dir=output_dir,
            test_file=flags.test_file,
            method=method,
            search_space=flags.search_space,
            objective=flags.objective,
            text_columns=tuple(flags.text_column or ()),
            label_column=flags.label_column,
            response_column=flags.response_column,
            prompt_template=flags.prompt_template,
            max_length=flags.max_length,
            search=flags.search_section(),
            machine=flags.machine_section(),
            layers=flags.layers,
            seed=flags.seed or 0,
        )
    )
    study = load_study(path)
    tell_data(study)
    with tracking(study) as mirror:
        run_defaults(study, TASK, method, log=log, on_record=mirror)
    optimum = _search_unit(study, TASK, method, log)
    write_search_outputs(study, TASK, method, optimum, output_dir)
    typer.echo(describe_result(study, TASK, method, optimum))


def _search_unit(study: Study, task: str, method: str, log: Path | None) -> Any:
    from phasewise.tuning.search import search_unit

    with tracking(study) as mirror:
        return search_unit(study, task, method, log=log, on_record=mirror)
