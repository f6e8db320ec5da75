"""Instruction tasks: a prompt to a response that a decoder writes; loss on the response only."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from phasewise.errors import ConfigError, DataError, InfeasibleRunError
from phasewise.settings import GENERATED_METRICS, TASK_KINDS, TaskSettings
from phasewise.tasks.chat import TurnTokens, find_closed_thoughts, tokenize_turns
from phasewise.tasks.examples import (
    EvalSet,
    Example,
    ExamplePrediction,
    Feature,
    Outputs,
    ResponseOutputs,
    Scored,
)
from phasewise.tasks.prompts import RenderedPrompt, read_text, render_prompt
from phasewise.tasks.response_rules import score_response
from phasewise.tasks.table import RowTable

#: Targets that carry no loss.
IGNORED = -100
#: Of ``max_length``, what a long prompt leaves to its response.
_RESPONSE_SHARE = 4
#: How many lines a message names.
_NAMED_LINES = 5


class Instruction:
    """A prompt, made from a row's columns, to the response in another column."""

    auto_class = TASK_KINDS["instruction"].auto_class

    def model_kwargs(self, task: TaskSettings) -> dict[str, Any]:
        """Returns nothing: the head is the pretrained model's own."""
        return {}

    def parse(self, task: TaskSettings, split: str, table: RowTable) -> list[Example]:
        """Returns the rows as (system, prompt, response); an empty response is a turn too."""
        assert task.prompt is not None
        examples = []
        for index in range(len(table.rows)):
            rendered = render_prompt(task.prompt, table, index)
            response = read_text(table, index, task.response)
            line = table.numbers[index]
            texts = (rendered.system, rendered.prompt, response)
            examples.append(Example(id=f"{split}-{line}", texts=texts, line=line))
        if not any(example.texts[2].strip() for example in examples):
            raise DataError(
                f"{table.origin}: column '{task.response}': all {len(examples)} responses are "
                "empty; expected texts"
            )
        return examples

    def texts_apart(self, example: Example) -> tuple[str, ...]:
        """Returns system message and prompt with white space evened out."""
        return ("\x1f".join(" ".join(text.split()) for text in example.texts[:2]),)

    def tokenize_train(
        self, examples: Sequence[Example], tokenizer: Any, task: TaskSettings
    ) -> list[Feature]:
        """Returns one feature an example: its tokens, and ``labels`` that ignore the prompt.

        The response ends with the end token, unless ``max_length`` cuts it: a cut response must
        not teach to stop. A prompt that leaves its response less than a quarter of ``max_length``
        loses its start, or is refused (``prompt.too_long``).

        Raises:
            ConfigError: ``max_length`` is more than the model can read, or no end token.
            DataError: A prompt is too long, and the task refuses such.
        """
        return [_build_feature(turn) for turn in _encode(examples, tokenizer, task)]

    def tokenize_eval(
        self, examples: Sequence[Example], tokenizer: Any, task: TaskSettings
    ) -> EvalSet:
        """Returns the same features as for training, with their examples."""
        features = self.tokenize_train(examples, tokenizer, task)
        return EvalSet(list(examples), features, np.arange(len(features), dtype=np.int64))

    def count_cut(self, examples: Sequence[Example], tokenizer: Any, task: TaskSettings) -> int:
        """Returns how many examples lose tokens of prompt or response to ``max_length``."""
        fitted = _encode(examples, tokenizer, task)
        return sum(turn.prompt_cut or turn.answer_cut for turn in fitted)

    def describe_cuts(
        self, examples: Sequence[Example], tokenizer: Any, task: TaskSettings
    ) -> tuple[str, ...]:
        """Returns how many prompts and responses ``max_length`` cuts, and how many are empty."""
        fitted = _encode(examples, tokenizer, task)
        pairs = list(zip(examples, fitted, strict=True))
        limit = f"cut to fit max_length {task.max_length}"
        found = {
            f"prompts: start {limit}": [e.line for e, turn in pairs if turn.prompt_cut],
            f"responses: end {limit}": [e.line for e, turn in pairs if turn.answer_cut],
            "responses: empty": [e.line for e in examples if not e.texts[2].strip()],
        }
        return tuple(
            f"{len(lines)} of {len(pairs)} {what} ({_name_lines(lines)})"
            for what, lines in found.items()
            if lines
        )

    def describe_prompts(self, tokenizer: Any, task: TaskSettings) -> tuple[str, ...]:
        """Returns what the chat template does that a person may not expect."""
        assert task.prompt is not None
        end = find_closed_thoughts(task.prompt, tokenizer)
        said = f"every prompt ends in {end!r}, as the chat template has it; none of it is scored"
        return (said,) if end else ()

    def score(
        self,
        task: TaskSettings,
        eval_set: EvalSet,
        outputs: Outputs,
        threshold: float | None = None,
    ) -> Scored:
        """Returns loss, perplexity and accuracy per response token; of texts their metrics too."""
        assert isinstance(outputs, ResponseOutputs), "instruction needs losses, not logits"
        examples = eval_set.examples
        assert len(outputs.losses) == len(examples), "one loss per example"
        if not np.isfinite(outputs.losses).all():
            raise InfeasibleRunError(f"task '{task.name}': the model's loss is not finite")
        loss = float(outputs.losses.sum() / outputs.tokens.sum())
        metrics = {"eval_loss": loss, "perplexity": math.exp(min(loss, 700.0))}
        if outputs.right is not None:
            metrics["eval_accuracy"] = float(outputs.right.sum() / outputs.tokens.sum())
        values = {}
        for name in generated_metrics(task) if outputs.texts is not None else ():
            pairs = zip(outputs.texts or (), examples, strict=True)
            values[name] = np.array([score_response(name, said, e.texts[2]) for said, e in pairs])
            metrics[name] = float(values[name].mean())
        return Scored(metrics, _describe_predictions(task, examples, outputs, values))


class _FittedTurn(NamedTuple):
    prompt: list[int]
    answer: list[int]
    prompt_cut: bool
    answer_cut: bool


def generated_metrics(task: TaskSettings) -> tuple[str, ...]:
    """Returns the metrics of written responses that a task asks for, its own metric first."""
    own = (task.metric,) if task.metric in GENERATED_METRICS else ()
    return tuple(dict.fromkeys((*own, *task.generation.report_metrics)))


def writes_for_search(task: TaskSettings) -> bool:
    """Returns whether responses are written for the search set, which is slow."""
    return task.metric in GENERATED_METRICS or task.generation.on_search_set


def _encode(examples: Sequence[Example], tokenizer: Any, task: TaskSettings) -> list[_FittedTurn]:
    _check_tokenizer(tokenizer, task)
    assert task.prompt is not None
    conversations = [(RenderedPrompt(*example.texts[:2]), example.texts[2]) for example in examples]
    try:
        turns = tokenize_turns(task.prompt, conversations, tokenizer)
    except ConfigError as error:
        raise ConfigError(f"task '{task.name}': {error}") from error
    fitted = [_fit(turn, tokenizer, task) for turn in turns]
    if task.prompt.too_long == "refuse":
        _refuse_long(examples, fitted, task)
    return fitted


def _fit(turn: TurnTokens, tokenizer: Any, task: TaskSettings) -> _FittedTurn:
    end, answer = tokenizer.eos_token_id, turn.response
    if not answer or answer[-1] != end:
        answer = [*answer, end]
    kept = min(len(answer), max(1, task.max_length // _RESPONSE_SHARE))
    shortened = turn.prompt[-(task.max_length - kept - len(turn.start)) :]
    left = task.max_length - len(turn.start) - len(shortened)
    cut = len(shortened) < len(turn.prompt), left < len(answer)
    return _FittedTurn([*turn.start, *shortened], answer[:left], *cut)


def _refuse_long(
    examples: Sequence[Example], fitted: Sequence[_FittedTurn], task: TaskSettings
) -> None:
    long = [e.id for e, turn in zip(examples, fitted, strict=True) if turn.prompt_cut]
    if long:
        named = ", ".join(long[:_NAMED_LINES])
        raise DataError(
            f"task '{task.name}': {len(long)} of {len(examples)} prompts do not fit max_length "
            f"{task.max_length} with their response ({named}"
            f"{', …' if len(long) > _NAMED_LINES else ''}); raise max_length, shorten them, or "
            "let them be cut (prompt.too_long: cut)"
        )


def _build_feature(turn: _FittedTurn) -> Feature:
    tokens = np.asarray([*turn.prompt, *turn.answer], dtype=np.int64)
    labels = tokens.copy()
    labels[: len(turn.prompt)] = IGNORED
    return {"input_ids": tokens, "attention_mask": np.ones_like(tokens), "labels": labels}


def _check_tokenizer(tokenizer: Any, task: TaskSettings) -> None:
    if tokenizer.eos_token_id is None:
        raise ConfigError(
            f"task '{task.name}': {type(tokenizer).__name__} has no end token, so no response "
            "could end; choose a decoder"
        )
    longest = int(tokenizer.model_max_length)
    if task.max_length > longest:
        raise ConfigError(
            f"task '{task.name}': max_length {task.max_length} is more than the {longest} tokens "
            "that the model reads; lower it"
        )


def _name_lines(lines: Sequence[int]) -> str:
    named = ", ".join(map(str, lines[:_NAMED_LINES]))
    return (
        f"line{'s' if len(lines) > 1 else ''} {named}{', …' if len(lines) > _NAMED_LINES else ''}"
    )


def _describe_predictions(
    task: TaskSettings,
    examples: Sequence[Example],
    outputs: ResponseOutputs,
    values: dict[str, NDArray[np.float64]],
) -> list[ExamplePrediction]:
    """Returns what was written and how it scored.

    ``correct`` is the task's metric; for metrics of tokens the example's share of the mean
    loss per token, so that the mean over examples is the task's eval_loss.
    """
    shares = outputs.losses * len(examples) / outputs.tokens.sum()
    correct = values.get(task.metric, shares)
    overlap = values.get("rouge_l", correct)
    texts = outputs.texts or ("",) * len(examples)
    return [
        ExamplePrediction(
            id=example.id,
            prediction=texts[index],
            gold=(example.texts[2],),
            correct=float(correct[index]),
            f1=float(overlap[index]),
            logits=(float(outputs.losses[index]), float(outputs.tokens[index])),
        )
        for index, example in enumerate(examples)
    ]
