"""The options of ``phasewise search``: of a study's unit, or of files instead of a study."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from phasewise.cli.options import BASE_MODEL, DEFAULT_STUDY, DEVICE, LAYERS, MAX_LENGTH, SEED
from phasewise.errors import ConfigError

_UNIT, _FILES = "A unit of a study", "Files instead of a study"


def _flag(text: str, *names: str, **limits: Any) -> Any:
    """Declares an option of the second way; the guide writes its names with underscores."""
    every = [spelling for name in names for spelling in (name, f"--{name[2:].replace('-', '_')}")]
    return typer.Option(*dict.fromkeys(every), help=text, rich_help_panel=_FILES, **limits)


UnitStudy = Annotated[
    Path | None,
    typer.Option(
        "--study",
        "-s",
        help=f"The study's YAML file.  [default: {DEFAULT_STUDY}]",
        rich_help_panel=_UNIT,
    ),
]
UnitTask = Annotated[
    str | None, typer.Option("--task", "-t", help="A task of it.", rich_help_panel=_UNIT)
]
UnitMethod = Annotated[
    str | None,
    typer.Option("--method", "-m", help="A method of the study; with files: default lora."),
]
BaseModel = Annotated[str | None, _flag(*BASE_MODEL)]
TrainFile = Annotated[Path | None, _flag("JSONL, CSV, TSV or Parquet.", "--train-file")]
ValidationFile = Annotated[Path | None, _flag("Trials are scored on it.", "--validation-file")]
OutputDir = Annotated[Path | None, _flag("Everything is written below it.", "--output-dir")]
TestFile = Annotated[
    Path | None,
    _flag("For final scores only; none: a tenth of the train file is set aside.", "--test-file"),
]
NumTrials = Annotated[int | None, _flag("Trials in all.  [default: 10]", "--num-trials")]
RefineTrials = Annotated[
    int | None,
    _flag(
        "Then search so many more in ranges narrowed around the best; see OUTPUT_DIR/refined.",
        "--refine-trials",
        min=1,
    ),
]
Objective = Annotated[
    str | None,
    _flag(
        "A metric (eval_loss, eval_accuracy …), multi:a,b or pareto:a,b; beside metrics also "
        "train_seconds, memory_gb, adapter_mb, trainable_parameters.",
        "--objective",
        "--optimization-objective",
    ),
]
Weights = Annotated[
    str | None, _flag("Of multi:a,b, such as 0.7,0.3.", "--weights", "--optimization-weights")
]
SearchSpace = Annotated[
    str | None, _flag("YAML file, or a name of `phasewise list spaces`.", "--search-space")
]
TimeBudget = Annotated[
    float | None,
    _flag("Of the whole search: Phase 0, trials and confirmations.", "--time-budget-hours"),
]
PruningFactor = Annotated[
    float | None,
    _flag("Prune by successive halving (ASHA) that keeps one in so many.", "--pruning-factor"),
]
ParallelTrials = Annotated[int | None, _flag("Trials at the same time.", "--parallel-trials")]
MemoryConstraint = Annotated[
    float | None, _flag("Largest peak of a trial, GB.", "--memory-constraint")
]
TextColumn = Annotated[list[str] | None, _flag("Text column; twice for a pair.", "--text-column")]
LabelColumn = Annotated[str | None, _flag("Column of the class.", "--label-column")]
ResponseColumn = Annotated[
    str | None, _flag("Column of the response (instruction data).", "--response-column")
]
PromptTemplate = Annotated[
    str | None, _flag("Prompt with {column} names.  [default: Alpaca's]", "--prompt-template")
]
MaxLength = Annotated[int | None, _flag(*MAX_LENGTH)]
Layers = Annotated[int | None, _flag(*LAYERS)]
Seed = Annotated[int | None, _flag(*SEED)]
Device = Annotated[str | None, _flag(*DEVICE)]


@dataclass(frozen=True)
class FileFlags:
    """The options of a search of files; None: not given."""

    base_model: str | None
    train_file: Path | None
    validation_file: Path | None
    output_dir: Path | None
    test_file: Path | None
    num_trials: int | None
    refine_trials: int | None
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
