"""Phase 0 baselines of a task: what is reached without fine-tuning."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from phasewise.runs import (
    DataConfig,
    baseline_predictions_path,
    build_data,
    build_seeds,
    ledger_path,
    task_baselines_path,
    task_hash,
)
from phasewise.settings import Study, TaskSettings
from phasewise.steps import claim_folder
from phasewise.summaries import (
    LINEAR_NAMES,
    Baseline,
    BaselineName,
    LinearName,
    TaskBaselines,
    read_task_baselines,
    write_summary,
)
from phasewise.tasks.data import TaskData, load_task_data, open_report_data
from phasewise.tasks.examples import EvalSet, Example, Scored
from phasewise.tasks.predictions import write_predictions
from phasewise.training.linear import (
    Rows,
    fit_linear,
    predict_logits,
    read_rows,
)


class _Sets(NamedTuple):
    """What every baseline is fitted and scored on."""

    study: Study
    config: DataConfig
    data: TaskData
    report: EvalSet
    inherited: tuple[str, ...]
    """What the model's configuration says and the task sets otherwise."""

    @property
    def task(self) -> TaskSettings:
        """The task that the sets are of."""
        return self.config.task


def write_task_baselines(study: Study, task: str) -> TaskBaselines:
    """Returns a task's baselines and writes ``baselines.json``; computed once per settings.

    The report set is opened once, through its ledger. No baseline depends on a method.

    Args:
        study: The study.
        task: Name of one of its tasks.

    Raises:
        DataError: The task's data are missing or malformed.
        ConfigError: The model cannot be found, or the folder is another study's.
    """
    claim_folder(study)
    path, settings_hash = task_baselines_path(study, task), task_hash(study, task)
    known = read_task_baselines(path)
    if known is not None and known.settings_hash == settings_hash:
        return known
    sets = _load_sets(study, task)
    summary = TaskBaselines(
        task=task,
        metric=sets.task.metric,
        settings_hash=settings_hash,
        baselines=tuple(_compute(study, sets)),
        train_rows=sets.data.train_rows,
        search_rows=len(sets.data.search.examples),
        report_rows=len(sets.report.examples),
        notes=(*sets.inherited, *sets.data.messages, *sets.report.notes),
    )
    write_summary(path, summary)
    return summary


def _load_sets(study: Study, task: str) -> _Sets:
    from phasewise.methods.base_config import describe_inherited, require_positions
    from phasewise.methods.models import load_tokenizer

    config, model = build_data(study, task), study.settings.model
    require_positions(model, config.task.max_length, f"task '{task}': max_length")
    tokenizer = load_tokenizer(model)
    seeds = build_seeds(study.settings.seed, "phase0", task, 0)
    data = load_task_data(config, tokenizer, seeds.subset)
    report = open_report_data(
        config,
        tokenizer,
        ledger=ledger_path(study, task),
        run_label=f"{task}/baselines",
        reason="Phase 0: scores of the baselines",
    )
    kwargs = data.kind.model_kwargs(config.task)
    inherited = describe_inherited(model, tokenizer, data.kind.auto_class, kwargs)
    return _Sets(study, config, data, report, inherited)


def _compute(study: Study, sets: _Sets) -> list[Baseline]:
    """Returns the task kind's baselines; those that are not defined for it say so."""
    computed = (_COMPUTE[name](study, sets) for name in sets.task.traits.baselines)
    found: dict[str, Baseline] = {baseline.name: baseline for baseline in computed}
    why = f"not defined for {sets.task.kind}"
    return [found.get(name) or _missing(name, why) for name in get_args(BaselineName)]


def _no_answer(study: Study, sets: _Sets) -> Baseline:
    def _share(examples: Sequence[Example]) -> float:
        return float(np.mean([not example.answers for example in examples]))

    return Baseline(
        name="majority",
        search_score=_share(sets.data.search.examples),
        report_score=_share(sets.report.examples),
        note="always 'no answer'",
    )


def _majority_class(study: Study, sets: _Sets) -> Baseline:
    counts = np.bincount(_labels(sets.data.train_examples), minlength=len(sets.task.labels))
    logits = np.log((counts + 1) / (counts + 1).sum())  # (classes,), smoothed for eval_loss
    return _baseline(
        "majority",
        sets,
        np.tile(logits, (len(sets.data.search.examples), 1)),
        np.tile(logits, (len(sets.report.examples), 1)),
    )


def _linear(name: LinearName, study: Study, sets: _Sets) -> Baseline:
    data, report = sets.data, sets.report
    groups = (
        Rows(data.train_examples, data.train),
        Rows(data.search.examples, data.search.features),
        Rows(report.examples, report.features),
    )
    settings = study.settings
    train, *scored = read_rows(
        name,
        settings.model,
        groups,
        batch_size=settings.training.evaluation_batch_size,
        device=_device(study),
    )
    pipeline = fit_linear(name, train, _labels(data.train_examples))
    return _baseline(name, sets, *(predict_logits(pipeline, rows, sets.task) for rows in scored))


def _entailment(study: Study, sets: _Sets) -> Baseline:
    """Scores a model tuned on inference; any other has no head that knows the classes."""
    from phasewise.training.probe import entailment_label, score_hypotheses

    model = study.settings.model
    entailment = entailment_label(model)
    if entailment is None:
        return _missing("zero_shot", "needs a model tuned on natural language inference")
    if len(sets.task.text) > 1:
        return _missing("zero_shot", "defined for one text, the task has a pair")

    def _score(examples: Sequence[Example]) -> NDArray[np.float64]:
        batch_size = study.settings.training.evaluation_batch_size
        device = _device(study)
        return score_hypotheses(
            model, sets.task, examples, entailment, batch_size=batch_size, device=device
        )

    return _baseline(
        "zero_shot", sets, _score(sets.data.search.examples), _score(sets.report.examples)
    )


def _pretrained(study: Study, sets: _Sets) -> Baseline:
    from phasewise.training.untuned import score_untuned

    both = (sets.data.search, sets.report)
    search, report = score_untuned(study.settings, sets.task, both, _device(study))
    return _summarize("zero_shot", sets, search, report, note="the model as it was pretrained")


def _baseline(
    name: BaselineName, sets: _Sets, search: NDArray[np.float64], report: NDArray[np.float64]
) -> Baseline:
    """Scores logits of both sets, (examples, classes) each, by the rules for runs."""
    score = sets.data.kind.score
    return _summarize(
        name,
        sets,
        score(sets.task, sets.data.search, search),
        score(sets.task, sets.report, report),
    )


def _summarize(
    name: BaselineName, sets: _Sets, search: Scored, report: Scored, note: str = ""
) -> Baseline:
    """Keeps the answers to the report set too: a method's gain is taken on the same examples."""
    path = baseline_predictions_path(sets.study, sets.config.task.name, name)
    write_predictions(path, report.predictions)
    metric = sets.task.metric
    return Baseline(
        name=name,
        search_score=search.metrics[metric],
        report_score=report.metrics[metric],
        note=note,
    )


def _missing(name: BaselineName, why: str) -> Baseline:
    return Baseline(name=name, search_score=None, report_score=None, note=why)


def _labels(examples: Sequence[Example]) -> list[int]:
    return [example.label for example in examples]


def _device(study: Study) -> Any:
    import torch

    from phasewise.training.hardware import find_gpus

    torch.set_num_threads(study.settings.machine.threads)
    return torch.device("cuda" if find_gpus(study.settings.machine) else "cpu")


#: Each way to come by one, by the name that a row of ``settings.kinds`` lists.
_COMPUTE: dict[str, Callable[[Study, _Sets], Baseline]] = {
    "majority_class": _majority_class,
    "no_answer": _no_answer,
    **{name: partial(_linear, name) for name in LINEAR_NAMES},
    "entailment": _entailment,
    "pretrained": _pretrained,
}
