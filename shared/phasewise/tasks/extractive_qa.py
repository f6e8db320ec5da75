"""Extractive question answering with unanswerable questions (SQuAD 2.0)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phasewise.errors import ConfigError, DataError, InfeasibleRunError
from phasewise.seeding import derive_seed
from phasewise.settings import TASK_KINDS, TaskSettings
from phasewise.tasks.examples import (
    EvalSet,
    Example,
    ExamplePrediction,
    Feature,
    Outputs,
    Scored,
)
from phasewise.tasks.spans import BestSpans, find_best_spans
from phasewise.tasks.squad_rules import fit_threshold, score_answer
from phasewise.tasks.table import RowTable

#: Questions are cut at this many tokens, as in the published BERT runs (max_query_length).
_QUESTION_TOKENS = 64


class ExtractiveQA:
    """A question and a context to a span of the context, or to no answer."""

    auto_class = TASK_KINDS["extractive_qa"].auto_class

    def model_kwargs(self, task: TaskSettings) -> dict[str, Any]:
        """Returns the head's outputs a token: start and end, whatever the base was tuned for."""
        return {"num_labels": 2}

    def parse(self, task: TaskSettings, split: str, table: RowTable) -> list[Example]:
        """Returns the rows; columns question, context, answers and, if there, id."""
        examples = [_parse_row(split, table, index) for index in range(len(table.rows))]
        seen: dict[str, int] = {}
        for index, example in enumerate(examples):
            if example.id in seen:
                first = table.place(seen[example.id])
                raise table.refuse(index, "id", f"an id not used before ({first})", example.id)
            seen[example.id] = index
        if all(example.label for example in examples):
            raise DataError(f"{table.origin}: column 'answers': no question has an answer")
        return examples

    def texts_apart(self, example: Example) -> tuple[str, ...]:
        """Returns the context with white space evened out: its questions stay together."""
        return (" ".join(example.texts[1].split()),)

    def tokenize_train(
        self, examples: Sequence[Example], tokenizer: Any, task: TaskSettings
    ) -> list[Feature]:
        """Returns one feature a window; without the whole answer in it, its target is "none"."""
        windows = self.tokenize_eval(examples, tokenizer, task)
        features = []
        for index, feature in enumerate(windows.features):
            example = windows.examples[windows.example_of[index]]
            null = int(windows.null_positions[index])
            start, end = _target_tokens(example, windows.offsets[index], null)
            features.append({**feature, "start_positions": start, "end_positions": end})
        return features

    def tokenize_eval(
        self, examples: Sequence[Example], tokenizer: Any, task: TaskSettings
    ) -> EvalSet:
        """Returns overlapping windows over each context, ``doc_stride`` tokens shared.

        Raises:
            ConfigError: The tokenizer cannot give offsets, or ``max_length`` leaves no room.
        """
        if not examples:
            return EvalSet([], [], np.zeros(0, dtype=np.int64))
        encoded = tokenizer(
            _cut_questions(examples, tokenizer, task),
            [example.texts[1] for example in examples],
            truncation="only_second",
            max_length=task.max_length,
            stride=task.doc_stride,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )
        example_of = np.asarray(encoded.pop("overflow_to_sample_mapping"), dtype=np.int64)
        all_offsets = encoded.pop("offset_mapping")
        features, offsets = [], []
        names = list(encoded.keys())
        for index in range(len(example_of)):
            features.append({n: np.asarray(encoded[n][index], dtype=np.int64) for n in names})
            in_context = np.array([part == 1 for part in encoded.sequence_ids(index)])
            pairs = np.asarray(all_offsets[index], dtype=np.int64)  # (tokens, 2)
            offsets.append(np.where(in_context[:, None], pairs, -1))
        null = np.array([_null_position(feature, tokenizer) for feature in features])
        return EvalSet(list(examples), features, example_of, offsets, null)

    def score(
        self,
        task: TaskSettings,
        eval_set: EvalSet,
        outputs: Outputs,
        threshold: float | None = None,
    ) -> Scored:
        """Returns f1 and exact, also of answerable and unanswerable questions alone, 0..1.

        Without ``threshold`` (search set) the metrics are cross-fitted: each half of the contexts
        is scored at the threshold that is best for the other half, so the score is not tuned on
        the data it is about; ``Scored.threshold`` is fitted on the whole set, for the report set.
        """
        assert isinstance(outputs, tuple), "extractive_qa needs (start logits, end logits)"
        _check_finite(task, eval_set, outputs)
        best = find_best_spans(eval_set, outputs, task.max_answer_length)
        examples = eval_set.examples
        pairs = [score_answer(t, e.answers) for t, e in zip(best.texts, examples, strict=True)]
        span = np.array(pairs, dtype=np.float64).reshape(-1, 2)  # exact, f1
        null = np.array([float(not example.answers) for example in examples])
        differences = best.null_scores - best.span_scores
        column = 0 if task.metric == "exact" else 1
        if threshold is None:
            threshold = fit_threshold(differences, span[:, column], null)
            cuts = self._cross_fit(examples, differences, span[:, column], null)
        else:
            cuts = np.full(len(examples), threshold)
        silent = differences > cuts
        scores = np.where(silent[:, None], null[:, None], span)  # (questions, 2)
        return Scored(
            _average(scores, null.astype(bool)),
            _describe_predictions(examples, best, silent, scores),
            threshold,
        )

    def _cross_fit(
        self,
        examples: Sequence[Example],
        differences: NDArray[np.float64],
        span: NDArray[np.float64],
        null: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Returns (questions,) thresholds, each fitted without the question's own half.

        Halves are drawn by context, so that a context never helps to score itself.
        """
        contexts = [self.texts_apart(example)[0] for example in examples]
        half = np.array([derive_seed("threshold", each) % 2 for each in contexts], dtype=np.int64)
        cuts = np.zeros(len(examples))
        for own in (0, 1):
            other = half != own
            cuts[half == own] = fit_threshold(differences[other], span[other], null[other])
        return cuts


def _parse_row(split: str, table: RowTable, index: int) -> Example:
    question, context = table.text(index, "question"), table.text(index, "context")
    answers = table.value(index, "answers")
    texts = answers.get("text") if isinstance(answers, dict) else None
    starts = answers.get("answer_start") if isinstance(answers, dict) else None
    form = 'an object {"text": [texts], "answer_start": [whole numbers]} of equal length'
    if not isinstance(texts, list) or not isinstance(starts, list) or len(texts) != len(starts):
        raise table.refuse(index, "answers", form, answers)
    for text, start in zip(texts, starts, strict=True):
        if not isinstance(text, str) or not isinstance(start, int) or isinstance(start, bool):
            raise table.refuse(index, "answers", form, answers)
        if start < 0 or not text or context[start : start + len(text)] != text:
            found = context[max(start, 0) : max(start, 0) + len(text)]
            expected = f"{text!r} at character {start} of 'context', where {found!r} stands"
            raise table.refuse(index, "answers", expected, answers)
    name = table.rows[index].get("id")
    return Example(
        id=f"{split}-{index}" if name is None else str(name),
        texts=(question, context),
        label=int(not texts),
        answers=tuple(texts),
        answer_starts=tuple(starts),
    )


def _cut_questions(examples: Sequence[Example], tokenizer: Any, task: TaskSettings) -> list[str]:
    """Returns the questions without leading blanks, cut where they would crowd out the context."""
    if not getattr(tokenizer, "is_fast", False):
        raise ConfigError(
            f"task '{task.name}': extractive_qa needs a fast tokenizer (with offsets), "
            f"got {type(tokenizer).__name__}; choose a model that has one"
        )
    special = tokenizer.num_special_tokens_to_add(pair=True)
    room = min(_QUESTION_TOKENS, task.max_length - special - task.doc_stride - 1)
    if room < 1:
        raise ConfigError(
            f"task '{task.name}': max_length {task.max_length} leaves no room for a question "
            f"beside doc_stride {task.doc_stride} and {special} special tokens; "
            "raise max_length or lower doc_stride"
        )
    questions = [example.texts[0].lstrip() for example in examples]
    encoded = tokenizer(questions, add_special_tokens=False, return_offsets_mapping=True)
    return [
        text if len(offsets) <= room else text[: offsets[room - 1][1]]
        for text, offsets in zip(questions, encoded["offset_mapping"], strict=True)
    ]


def _null_position(feature: Feature, tokenizer: Any) -> int:
    """Returns the index of the CLS token; 0 where the tokenizer has none."""
    cls = getattr(tokenizer, "cls_token_id", None)
    if cls is None:
        return 0
    found = np.flatnonzero(feature["input_ids"] == cls)
    return int(found[0]) if len(found) else 0


def _target_tokens(example: Example, offsets: NDArray[np.int64], null: int) -> tuple[int, int]:
    """Returns first and last token of the first answer; ``null`` twice if it is not inside."""
    if not example.answers:
        return null, null
    start = example.answer_starts[0]
    end = start + len(example.answers[0])
    context = np.flatnonzero(offsets[:, 0] >= 0)
    if not len(context) or offsets[context[0], 0] > start or offsets[context[-1], 1] < end:
        return null, null
    first = int(np.searchsorted(offsets[context, 0], start, side="right")) - 1
    last = int(np.searchsorted(offsets[context, 1], end, side="left"))
    return int(context[first]), int(context[last])


def _check_finite(
    task: TaskSettings, eval_set: EvalSet, outputs: tuple[NDArray[Any], NDArray[Any]]
) -> None:
    for logits in outputs:
        assert len(logits) == len(eval_set.features), "one row of logits a window"
        for row, offsets in zip(logits, eval_set.offsets, strict=True):
            if not np.isfinite(row[: len(offsets)]).all():
                raise InfeasibleRunError(f"task '{task.name}': the model's logits are not finite")


def _average(scores: NDArray[np.float64], unanswerable: NDArray[np.bool_]) -> dict[str, float]:
    """Returns means over all questions, and over those with and without an answer if any."""
    metrics: dict[str, float] = {}
    parts = {"": np.ones_like(unanswerable), "has_ans_": ~unanswerable, "no_ans_": unanswerable}
    for prefix, rows in parts.items():
        if rows.any():
            exact, f1 = scores[rows].mean(axis=0)
            metrics |= {f"{prefix}f1": float(f1), f"{prefix}exact": float(exact)}
    return metrics


def _describe_predictions(
    examples: Sequence[Example],
    best: BestSpans,
    silent: NDArray[np.bool_],
    scores: NDArray[np.float64],
) -> list[ExamplePrediction]:
    return [
        ExamplePrediction(
            id=example.id,
            prediction="" if silent[index] else best.texts[index],
            gold=example.answers,
            correct=float(scores[index, 0]),
            f1=float(scores[index, 1]),
            logits=(float(best.span_scores[index]), float(best.null_scores[index])),
        )
        for index, example in enumerate(examples)
    ]
