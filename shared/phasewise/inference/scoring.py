"""Scores a model on labeled rows: a file, or a task's report set through its ledger."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from phasewise.errors import ConfigError
from phasewise.inference.loading import LoadedModel
from phasewise.inference.running import count_truncated, run_model, tokenize
from phasewise.runs import DataConfig, build_data, ledger_path
from phasewise.settings import METRICS, Section, Study, TaskSettings, metrics_of
from phasewise.tasks.class_coverage import describe_scored_classes
from phasewise.tasks.data import load_task_data, open_report_data
from phasewise.tasks.examples import EvalSet, ExamplePrediction, Scored
from phasewise.tasks.files import read_file
from phasewise.tasks.kinds import get_kind


class SetScores(Section):
    """The metrics of a labeled set."""

    name: str = Field(description="The file, or `report set of TASK`.")
    rows: int
    metrics: dict[str, float]
    standard_errors: dict[str, float] = Field(
        description="Over examples; for metrics that are means over them, or over their tokens."
    )
    truncated: int = Field(description="Texts, prompts or responses, that were cut.")
    notes: tuple[str, ...] = Field((), description="Classes that macro scores leave out.")


def score_file(
    model: LoadedModel, task: TaskSettings, source: Path, batch_size: int
) -> tuple[SetScores, EvalSet, list[ExamplePrediction]]:
    """Returns the task's metrics on a labeled CSV, TSV, JSONL or Parquet file.

    Args:
        model: The model.
        task: Names the columns and the classes.
        source: The file.
        batch_size: Rows a forward pass.

    Raises:
        DataError: The file cannot be read, or has a label that the task lacks.
    """
    kind = get_kind(task)
    examples = kind.parse(task, source.stem, read_file(source, task.quoted))
    eval_set = tokenize(model, task, examples)
    threshold = model.source.record.threshold if model.source.record else None
    if task.traits.has_contexts and threshold is None:
        threshold = 0.0  # fitting it on the rows it is scored on would flatter the model
    outputs = run_model(model, task, eval_set, batch_size)
    scored = kind.score(task, eval_set, outputs, threshold)
    return _summarize(model, task, str(source), eval_set, scored), eval_set, scored.predictions


def score_report_set(
    model: LoadedModel, study: Study, task: str, batch_size: int
) -> tuple[SetScores, EvalSet, list[ExamplePrediction]]:
    """Returns the metrics on a task's report set; the access is noted in the study's ledger.

    Raises:
        ConfigError: The model was trained for other classes.
        DataError: The data are missing or malformed.
    """
    settings = study.tasks[task]
    if get_kind(settings).auto_class != model.source.auto_class:
        raise ConfigError(
            f"{model.source.folder}: task '{task}' needs {get_kind(settings).auto_class}, "
            f"got {model.source.auto_class}"
        )
    if model.source.labels and model.source.labels != settings.labels:
        raise ConfigError(
            f"{model.source.folder}: its classes ({', '.join(model.source.labels)}) are not those "
            f"of task '{task}' ({', '.join(settings.labels)})"
        )
    data = build_data(study, task)
    threshold = _fit_threshold(model, data, batch_size)
    eval_set = open_report_data(
        data,
        model.tokenizer,
        ledger=ledger_path(study, task),
        run_label=str(model.source.folder),
        reason="phasewise evaluate",
    )
    outputs = run_model(model, settings, eval_set, batch_size)
    scored = get_kind(settings).score(settings, eval_set, outputs, threshold)
    name = f"report set of {task}"
    return _summarize(model, settings, name, eval_set, scored), eval_set, scored.predictions


def _fit_threshold(model: LoadedModel, config: DataConfig, batch_size: int) -> float | None:
    """Returns the no-answer threshold: the record's, else fitted on the search set."""
    if not config.task.traits.has_contexts:
        return None
    if model.source.record is not None and model.source.record.threshold is not None:
        return model.source.record.threshold
    data = load_task_data(config, model.tokenizer, subset_seed=0)
    outputs = run_model(model, config.task, data.search, batch_size)
    return data.kind.score(config.task, data.search, outputs).threshold


def _summarize(
    model: LoadedModel, task: TaskSettings, name: str, eval_set: EvalSet, scored: Scored
) -> SetScores:
    rows = len(scored.predictions)
    values = _spread_values(task, scored) if rows > 1 else {}
    return SetScores(
        name=name,
        rows=rows,
        metrics=scored.metrics,
        standard_errors={
            metric: float(np.std(each, ddof=1) / rows**0.5)
            for metric, each in values.items()
            if metric in scored.metrics
        },
        truncated=count_truncated(model, task, eval_set),
        notes=describe_scored_classes(task, {name: eval_set.examples}),
    )


def _spread_values(task: TaskSettings, scored: Scored) -> dict[str, NDArray[np.float64]]:
    """Returns (examples,) values whose spread gives a metric's standard error."""
    said = scored.predictions
    found = {}
    for name in metrics_of(task.kind):
        field = METRICS[name].kinds[task.kind]
        if field is not None and _is_of(task, name, field):
            found[name] = np.array([getattr(each, field) for each in said])
    if not task.traits.generates:
        return found
    losses, tokens = np.array([p.logits for p in said]).T
    # A ratio of two means (Cochran 1977, Sampling Techniques, section 2.11).
    found["eval_loss"] = (losses - scored.metrics["eval_loss"] * tokens) / tokens.mean()
    return found


def _is_of(task: TaskSettings, metric: str, field: str) -> bool:
    """Whether a field holds a metric's values; an instruction task has one ``correct`` for all."""
    return not task.traits.generates or field != "correct" or metric == task.metric
