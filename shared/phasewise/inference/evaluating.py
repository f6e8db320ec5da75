"""What ``phasewise evaluate`` does: scores, a prompt suite, speed, harness tasks, in one result."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import Field

from phasewise.errors import ConfigError
from phasewise.inference.harness import HarnessScore, require_harness, run_harness
from phasewise.inference.inputs import DEFAULT_LENGTH, read_texts, task_of_model
from phasewise.inference.loading import Device, LoadedModel, find_model, load_model
from phasewise.inference.profiling import (
    InferenceProfile,
    Perplexity,
    measure_perplexity,
    profile_inference,
)
from phasewise.inference.prompts import (
    DEFAULT_SUITE,
    GenerationSpeed,
    PromptAnswer,
    answer_suite,
    measure_speed,
    read_suite,
)
from phasewise.inference.scoring import SetScores, score_file, score_report_set
from phasewise.methods.base_config import fit_positions, require_positions
from phasewise.provenance import describe_environment, without_host
from phasewise.records import write_atomically
from phasewise.settings import CAUSAL_LM, Section, Study
from phasewise.tasks.examples import ExamplePrediction, Feature
from phasewise.tasks.predictions import write_predictions
from phasewise.training.device import describe_device

EVALUATION_FILE = "evaluation.json"


@dataclass(frozen=True)
class EvaluationRequest:
    """What is to be measured; at least one thing.

    Attributes:
        source: Labeled file (causal models without a task: texts for the perplexity).
        study: With ``task``: whose report set is scored.
        task: Name of a task of the study.
        text: Text columns; empty: the task's.
        suite: Prompt suite; None: none.
        profile: Whether speed and memory are measured.
        harness: Tasks of lm-evaluation-harness.
        harness_include: Folder of further harness tasks.
        harness_limit: First so many rows of each harness task; None: all.
        batch_size: Rows a forward pass.
        max_length: Tokens of a text; None: the task's.
        device: Where the model goes.
        predictions: JSONL file for what the model said of each labeled row; None: none.
    """

    source: Path | None = None
    study: Study | None = None
    task: str | None = None
    text: Sequence[str] = ()
    suite: Path | None = None
    profile: bool = False
    harness: Sequence[str] = ()
    harness_include: Path | None = None
    harness_limit: int | None = None
    batch_size: int = 32
    max_length: int | None = None
    device: Device = "auto"
    predictions: Path | None = None


class Evaluation(Section):
    """Everything that was measured of a model."""

    model: str
    base_model: str | None = Field(None, description="Of an adapter.")
    device: str
    environment: dict[str, str]
    scores: SetScores | None = None
    perplexity: Perplexity | None = None
    profile: InferenceProfile | None = None
    prompts: tuple[PromptAnswer, ...] = ()
    generation: GenerationSpeed | None = Field(None, description="Of the prompt suite.")
    harness: tuple[HarnessScore, ...] = ()


def evaluate_model(
    folder: Path | None,
    request: EvaluationRequest,
    output: Path,
    *,
    base_model: str | None = None,
) -> Evaluation:
    """Returns what was asked for and writes it as JSON.

    Args:
        folder: A model folder; None: ``base_model`` as it is.
        request: What to measure.
        output: The JSON file.
        base_model: Hub id, folder or package:NAME; with a folder: its adapter's base instead of
            the one that the adapter names.

    Raises:
        ConfigError: Nothing was asked for, or something that the model cannot do.
        DataError: The labeled rows cannot be read.
    """
    if not (request.source or request.task or request.suite or request.profile or request.harness):
        raise ConfigError(
            "nothing to evaluate: give --input FILE or --task TASK, --benchmark-only, "
            "--profile-inference or --lm-eval TASKS"
        )
    if request.harness:
        require_harness()
    source = find_model(folder, base_model)
    if source.baseline is not None and request.profile:
        raise ConfigError(f"{folder}: --profile-inference needs a network, this is a baseline")
    speaks = request.profile and source.auto_class == CAUSAL_LM
    suite = read_suite(request.suite or DEFAULT_SUITE) if request.suite or speaks else None
    model = load_model(source, request.device)
    scores, perplexity, predictions, features = _score(model, request)
    answers = answer_suite(model, suite) if suite else ()
    result = Evaluation(
        model=base_model or "" if folder is None else str(folder),
        base_model=source.base.source if source.is_adapter else None,
        device=describe_device(model.device),
        environment=without_host(describe_environment()),
        scores=scores,
        perplexity=perplexity,
        profile=profile_inference(model, features, request.batch_size) if features else None,
        prompts=answers,
        generation=measure_speed(answers) if answers else None,
        harness=_run_harness(model, request),
    )
    if request.predictions is not None:
        write_predictions(request.predictions, predictions)
    write_atomically(output, result.model_dump_json(indent=2) + "\n")
    return result


def _score(
    model: LoadedModel, request: EvaluationRequest
) -> tuple[SetScores | None, Perplexity | None, list[ExamplePrediction], Sequence[Feature]]:
    """Returns scores of labeled rows, or perplexity of texts, and inputs to profile if wanted."""
    if request.task is not None:
        assert request.study is not None
        scores, eval_set, predictions = score_report_set(
            model, request.study, request.task, request.batch_size
        )
        return scores, None, predictions, eval_set.features if request.profile else ()
    if request.source is not None and not _reads_plain_texts(model):
        task = task_of_model(model.source, request.text, request.max_length)
        scores, eval_set, predictions = score_file(model, task, request.source, request.batch_size)
        return scores, None, predictions, eval_set.features if request.profile else ()
    perplexity, texts = None, [prompt.prompt for prompt in read_suite(DEFAULT_SUITE).prompts]
    length = request.max_length or fit_positions(model.source.base, DEFAULT_LENGTH)
    require_positions(model.source.base, length, "--max-length")
    if request.source is not None:
        texts = read_texts(request.source, request.text)
        perplexity = measure_perplexity(
            model, texts, batch_size=request.batch_size, max_length=length
        )
    features = _plain_features(model, texts, length) if request.profile else ()
    return None, perplexity, [], features


def _reads_plain_texts(model: LoadedModel) -> bool:
    return model.source.auto_class == CAUSAL_LM and model.source.record is None


def _plain_features(model: LoadedModel, texts: Sequence[str], length: int) -> list[Feature]:
    encoded = model.tokenizer(list(texts), truncation=True, max_length=length)["input_ids"]
    return [
        {"input_ids": np.asarray(ids), "attention_mask": np.ones(len(ids), dtype=np.int64)}
        for ids in encoded
        if ids
    ]


def _run_harness(model: LoadedModel, request: EvaluationRequest) -> tuple[HarnessScore, ...]:
    if not request.harness:
        return ()
    return run_harness(
        model,
        request.harness,
        include=request.harness_include,
        limit=request.harness_limit,
        batch_size=request.batch_size,
    )
