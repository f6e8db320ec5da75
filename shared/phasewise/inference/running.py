"""Runs examples through a loaded model: logits, losses, or the responses it writes."""

from collections.abc import Sequence
from typing import Any

from phasewise.inference.loading import LoadedModel
from phasewise.settings import TaskSettings
from phasewise.tasks.collation import build_collator
from phasewise.tasks.examples import EvalSet, Example, Outputs
from phasewise.tasks.instruction import Instruction
from phasewise.tasks.kinds import get_kind
from phasewise.training.linear import Rows, predict_logits, read_rows
from phasewise.training.responses import run_eval_set, write_responses


def tokenize(model: LoadedModel, task: TaskSettings, examples: Sequence[Example]) -> EvalSet:
    """Returns the examples as inputs of a model, cut at the task's length as in training."""
    return get_kind(task).tokenize_eval(examples, model.tokenizer, task)


def count_truncated(model: LoadedModel, task: TaskSettings, eval_set: EvalSet) -> int:
    """Returns how many examples lost text; none of question answering, whose windows overlap."""
    kind = get_kind(task)
    if isinstance(kind, Instruction):
        return kind.count_cut(eval_set.examples, model.tokenizer, task)
    if not task.traits.has_classes:
        return 0
    full = [
        example
        for example, feature in zip(eval_set.examples, eval_set.features, strict=True)
        if len(feature["input_ids"]) >= task.max_length
    ]
    if not full:
        return 0
    columns = zip(*(example.texts for example in full), strict=True)
    encoded = model.tokenizer(*map(list, columns), truncation=False, verbose=False)
    return sum(len(ids) > task.max_length for ids in encoded["input_ids"])


def run_model(
    model: LoadedModel, task: TaskSettings, eval_set: EvalSet, batch_size: int
) -> Outputs:
    """Returns what scores a set, in the order of its features.

    Logits; for instruction tasks losses, and responses where one of the task's metrics judges them.
    """
    if model.source.baseline is not None:
        (inputs,) = read_rows(
            model.source.baseline.name,
            model.source.base,
            [Rows(eval_set.examples, eval_set.features)],
            batch_size=batch_size,
            device=model.device,
        )
        return predict_logits(model.model, inputs, task)
    return run_eval_set(
        model.model,
        eval_set.features,
        build_collator(model.tokenizer),
        model.tokenizer,
        task,
        writes=True,
        **_settings(model, batch_size),
    )


def answer_set(
    model: LoadedModel, task: TaskSettings, eval_set: EvalSet, batch_size: int
) -> tuple[str, ...]:
    """Returns what a decoder writes to each prompt of an instruction set, in order."""
    settings = _settings(model, batch_size)
    return write_responses(model.model, eval_set.features, model.tokenizer, task, **settings)


def _settings(model: LoadedModel, batch_size: int) -> dict[str, Any]:
    return {"batch_size": batch_size, "device": model.device, "context": model.context}
