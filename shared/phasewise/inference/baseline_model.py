"""Keeps a linear baseline as a model: for tasks on which a search has not beaten it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from phasewise.errors import ConfigError
from phasewise.inference.given import BASELINE_FILE, require_new
from phasewise.provenance import describe_environment, without_host
from phasewise.records import write_atomically
from phasewise.runs import DataConfig, build_data, build_seeds, task_hash
from phasewise.settings import ModelSettings, Section, Study, TaskSettings
from phasewise.summaries import LinearName
from phasewise.training.device import choose_device
from phasewise.training.linear import Rows, fit_linear, read_rows

#: The fitted pipeline, by skops: unlike a pickle it runs no code when it is read.
CLASSIFIER_FILE = "classifier.skops"


class BaselineRecord(Section):
    """``baseline.json`` in the folder of a baseline that was kept as a model."""

    name: LinearName
    model: ModelSettings = Field(description="Whose tokens and embeddings it reads.")
    data: DataConfig
    settings_hash: str = Field(description="Of what it depends on, as of Phase 0's baselines.")
    train_rows: int
    environment: dict[str, str]

    @property
    def task(self) -> TaskSettings:
        """The task that it was fitted to."""
        return self.data.task


def train_baseline(
    study: Study,
    task: str,
    name: LinearName,
    output: Path,
    *,
    all_data: bool = False,
    say: Callable[[str], None] = print,
) -> Path:
    """Fits a linear baseline of a task and keeps it; one of the same settings stays as it is.

    Args:
        study: The study.
        task: Name of a classification task of it.
        name: Which baseline.
        output: The model's folder: ``baseline.json`` and ``classifier.skops``.
        all_data: Fit the search set's rows too; the report set stays closed.
        say: Gets a line for each event.

    Returns:
        ``output``.

    Raises:
        ConfigError: The task has no such baseline, or ``output`` holds something else.
        DataError: The task's data are missing or malformed.
    """
    config = build_data(study, task).model_copy(update={"all_data": all_data})
    if name not in config.task.traits.baselines:
        raise ConfigError(f"--baseline {name}: not defined for {config.task.kind}, as '{task}' is")
    settings_hash = task_hash(study, task)
    known = read_baseline_record(output)
    wanted = (name, all_data, settings_hash)
    if known is not None and wanted == (known.name, known.data.all_data, known.settings_hash):
        say(f"{output}: trained already")
        return output
    require_new(output, "baseline")
    pipeline, train_rows = _fit(study, name, config)
    record = BaselineRecord(
        name=name,
        model=study.settings.model,
        data=config,
        settings_hash=settings_hash,
        train_rows=train_rows,
        environment=without_host(describe_environment()),
    )
    _write(output, record, pipeline)
    say(f"{output}: wrote {name}, fitted to {train_rows:,} rows")
    return output


def _fit(study: Study, name: LinearName, config: DataConfig) -> tuple[Any, int]:
    """Returns scikit-learn's pipeline and the number of rows that it was fitted to."""
    from phasewise.methods.models import load_tokenizer
    from phasewise.tasks.data import load_task_data

    settings = study.settings
    seeds = build_seeds(
        settings.seed, "phase0", config.task.name, 0
    )  # the rows that Phase 0 fitted
    data = load_task_data(config, load_tokenizer(settings.model), seeds.subset)
    (inputs,) = read_rows(
        name,
        settings.model,
        [Rows(data.train_examples, data.train)],
        batch_size=settings.training.evaluation_batch_size,
        device=choose_device(settings.machine),
    )
    labels = [example.label for example in data.train_examples]
    return fit_linear(name, inputs, labels), data.train_rows


def read_baseline_record(folder: Path) -> BaselineRecord | None:
    """Returns what a folder says of its baseline; None if it holds none.

    Raises:
        ConfigError: The file is not of this version.
    """
    file = folder / BASELINE_FILE
    if not file.is_file():
        return None
    try:
        return BaselineRecord.model_validate_json(file.read_bytes())
    except ValidationError as error:
        raise ConfigError(
            f"{file}: expected a baseline of this version ({error.error_count()} faults, first: "
            f"{error.errors()[0]['msg']}); train it again"
        ) from error


def load_classifier(folder: Path) -> Any:
    """Returns the fitted pipeline of a baseline's folder.

    Raises:
        ConfigError: It is missing, damaged, or holds types other than scikit-learn's own.
    """
    import skops.io

    file = folder / CLASSIFIER_FILE
    try:
        return skops.io.load(file)
    except Exception as error:  # a zip of JSON and arrays: what is wrong with it can be anything
        raise ConfigError(f"{file}: cannot be read ({error}); train the baseline again") from error


def _write(output: Path, record: BaselineRecord, pipeline: Any) -> None:
    """The record comes last: a folder without one is no model."""
    import skops.io

    output.mkdir(parents=True, exist_ok=True)
    skops.io.dump(pipeline, output / CLASSIFIER_FILE)
    write_atomically(output / BASELINE_FILE, record.model_dump_json(indent=2) + "\n")
