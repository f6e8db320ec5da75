"""A suite of prompts for causal models: what they answer, which answers are right, how fast."""

import re
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from pydantic import Field, ValidationError, field_validator
from transformers import GenerationConfig

from phasewise.errors import ConfigError
from phasewise.inference.inputs import plain_prompt
from phasewise.inference.loading import LoadedModel
from phasewise.methods.base_config import cut_at_end, find_end_tokens
from phasewise.settings import CAUSAL_LM, REGISTRY, Section, read_yaml
from phasewise.tasks.chat import tokenize_turns
from phasewise.tasks.prompts import RenderedPrompt
from phasewise.training.device import wait_for_device

DEFAULT_SUITE = REGISTRY / "prompts" / "basic.yaml"


class Prompt(Section):
    """One prompt of a suite."""

    name: str
    category: str
    prompt: str = Field(min_length=1)
    expect: str | None = Field(
        None, description="Regular expression that a right answer contains; null: not checked."
    )

    @field_validator("expect")
    @classmethod
    def _check_expression(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from error
        return value


class PromptSuite(Section):
    """A YAML file of prompts."""

    description: str = ""
    max_new_tokens: int = Field(64, ge=1, le=4096, description="Tokens of an answer.")
    prompts: tuple[Prompt, ...] = Field(min_length=1)


class PromptAnswer(Section):
    """What a model said to one prompt."""

    name: str
    category: str
    prompt: str
    answer: str
    right: bool | None = Field(description="None where no answer was expected.")
    prompt_tokens: int
    new_tokens: int
    first_token_ms: float = Field(description="From prompt to first token.")
    seconds: float = Field(description="Of the whole answer.")


class GenerationSpeed(Section):
    """How fast a suite was answered, one prompt at a time."""

    tokens_per_second: float = Field(description="Written tokens over the time of all answers.")
    first_token_p50_ms: float
    first_token_p95_ms: float
    new_tokens: int


def read_suite(path: Path) -> PromptSuite:
    """Returns the prompts of a YAML file.

    Raises:
        ConfigError: No such file, or not a suite; the first fault is named.
    """
    try:
        return PromptSuite.model_validate(read_yaml(path))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{path}: {key}: {first['msg']}") from error


def answer_suite(model: LoadedModel, suite: PromptSuite) -> tuple[PromptAnswer, ...]:
    """Returns the model's greedy answers, one prompt at a time, each timed.

    A model is asked in the form of chat that it was trained in; without a record that is its
    tokenizer's chat template, if it has one.

    Raises:
        ConfigError: The model is no causal language model.
    """
    if model.source.auto_class != CAUSAL_LM:
        raise ConfigError(
            f"{model.source.folder}: a prompt suite needs a causal language model, "
            f"got {model.source.auto_class}; give --input or --task to score it"
        )
    _generate(model, suite.prompts[0].prompt, 2)  # the first call pays for warming up
    return tuple(_answer(model, prompt, suite.max_new_tokens) for prompt in suite.prompts)


def measure_speed(answers: Sequence[PromptAnswer]) -> GenerationSpeed:
    """Returns the speed behind the answers of a suite; at least one."""
    new_tokens = sum(answer.new_tokens for answer in answers)
    p50, p95 = np.percentile([answer.first_token_ms for answer in answers], [50, 95])
    return GenerationSpeed(
        tokens_per_second=new_tokens / sum(answer.seconds for answer in answers),
        first_token_p50_ms=float(p50),
        first_token_p95_ms=float(p95),
        new_tokens=new_tokens,
    )


def _answer(model: LoadedModel, prompt: Prompt, max_new_tokens: int) -> PromptAnswer:
    clock = time.perf_counter()
    _generate(model, prompt.prompt, 1)
    first = time.perf_counter() - clock
    clock = time.perf_counter()
    ids, length = _generate(model, prompt.prompt, max_new_tokens)
    seconds = time.perf_counter() - clock
    said = cut_at_end(ids[length:], find_end_tokens(model.model, model.tokenizer))
    answer = model.tokenizer.decode(said, skip_special_tokens=True).strip()
    return PromptAnswer(
        name=prompt.name,
        category=prompt.category,
        prompt=prompt.prompt,
        answer=answer,
        right=None if prompt.expect is None else bool(re.search(prompt.expect, answer)),
        prompt_tokens=length,
        new_tokens=len(ids) - length,
        first_token_ms=1000 * first,
        seconds=seconds,
    )


def _generate(model: LoadedModel, prompt: str, max_new_tokens: int) -> tuple[list[int], int]:
    """Returns prompt and answer as tokens, and how many of them are the prompt's."""
    inputs = {name: tensor.to(model.device) for name, tensor in _encode(model, prompt).items()}
    config = GenerationConfig(
        do_sample=False,
        max_new_tokens=max_new_tokens,
        pad_token_id=model.tokenizer.pad_token_id,
        eos_token_id=find_end_tokens(model.model, model.tokenizer) or None,
    )
    with torch.inference_mode(), model.context():
        written = model.model.generate(**inputs, generation_config=config)
    wait_for_device(model.device)
    return written[0].tolist(), int(inputs["input_ids"].shape[1])


def _encode(model: LoadedModel, prompt: str) -> dict[str, torch.Tensor]:
    """Returns the tokens that a task's prompt of the same words would have in training."""
    form = plain_prompt(model.source, model.tokenizer, ("prompt",))
    (turn,) = tokenize_turns(form, [(RenderedPrompt("", prompt), "")], model.tokenizer)
    ids = torch.tensor([[*turn.start, *turn.prompt]])
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
