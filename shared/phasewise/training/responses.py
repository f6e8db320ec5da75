"""Runs instruction examples through a decoder: loss of each response, and responses it writes."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from peft.helpers import DoraCaching
from torch.nn.functional import cross_entropy
from transformers import GenerationConfig

from phasewise.methods.base_config import cut_at_end, find_end_tokens
from phasewise.settings import TaskSettings
from phasewise.tasks.examples import Feature, Outputs, ResponseOutputs
from phasewise.tasks.instruction import IGNORED, generated_metrics
from phasewise.training.device import is_out_of_memory
from phasewise.training.prediction import Collate, predict

Context = Callable[[], AbstractContextManager[None]]
_R = TypeVar("_R")

#: Logits of one forward pass, numbers: half a GiB in float32, whatever the vocabulary.
_MOST_LOGITS = 2**27


def run_eval_set(
    model: Any,
    features: Sequence[Feature],
    collate: Collate,
    tokenizer: Any,
    task: TaskSettings,
    *,
    writes: bool,
    batch_size: int,
    device: torch.device,
    context: Context,
) -> Outputs:
    """Returns what ``TaskKind.score`` needs of a model; arguments as in ``answer_prompts``."""
    if not task.traits.generates:
        return predict(
            model, features, collate, batch_size=batch_size, device=device, context=context
        )
    return answer_prompts(
        model,
        features,
        collate,
        tokenizer,
        task,
        writes=writes,
        batch_size=batch_size,
        device=device,
        context=context,
    )


def answer_prompts(
    model: Any,
    features: Sequence[Feature],
    collate: Collate,
    tokenizer: Any,
    task: TaskSettings,
    *,
    writes: bool,
    batch_size: int,
    device: torch.device,
    context: Context,
) -> ResponseOutputs:
    """Returns the loss of each response and, if asked for, what the model writes, in order.

    Args:
        model: Left in evaluation mode.
        features: From ``Instruction.tokenize_eval``; at least one.
        collate: From ``build_collator``.
        tokenizer: The model's.
        task: Says how long a response may become.
        writes: Whether the model also writes responses, greedily, if a metric is to judge them.
        batch_size: Rows a forward pass, at most; halved where memory runs out.
        device: Where the model lies.
        context: Makes the autocast context.
    """
    model.eval()

    def _measure(rows: Sequence[Feature]) -> list[tuple[float, int, int]]:
        with torch.inference_mode(), context():
            return _measure_losses(model, {n: t.to(device) for n, t in collate(rows).items()})

    vocabulary = int(model.config.vocab_size)
    longest = max(len(feature["input_ids"]) for feature in features)
    rows = max(1, min(batch_size, _MOST_LOGITS // (vocabulary * longest)))
    losses = np.array(_in_batches(features, _measure, rows), dtype=np.float64)
    return add_texts(
        losses,
        model,
        features,
        tokenizer,
        task,
        writes=writes,
        batch_size=batch_size,
        device=device,
        context=context,
    )


def add_texts(
    losses: NDArray[np.float64],
    model: Any,
    features: Sequence[Feature],
    tokenizer: Any,
    task: TaskSettings,
    *,
    writes: bool,
    batch_size: int,
    device: torch.device,
    context: Context,
) -> ResponseOutputs:
    """Returns known losses with what the model writes, if asked.

    Losses are (features, 3): sum, tokens, and how many of the tokens the model finds most likely.

    The other arguments are those of ``answer_prompts``.
    """
    texts = None
    if writes and generated_metrics(task):
        texts = write_responses(
            model,
            features,
            tokenizer,
            task,
            batch_size=batch_size,
            device=device,
            context=context,
        )
    tokens, right = losses[:, 1].astype(np.int64), losses[:, 2].astype(np.int64)
    return ResponseOutputs(losses[:, 0], tokens, texts, right)


def write_responses(
    model: Any,
    features: Sequence[Feature],
    tokenizer: Any,
    task: TaskSettings,
    *,
    batch_size: int,
    device: torch.device,
    context: Context,
) -> tuple[str, ...]:
    """Returns what the model writes to each prompt, greedily; arguments as in ``answer_prompts``.

    Responses inside the features are not read, so they may be empty.
    """
    model.eval()

    def _write(rows: Sequence[Feature]) -> list[str]:
        with torch.inference_mode(), context():
            return _generate(model, rows, tokenizer, task, device)

    with DoraCaching():  # else PEFT works out W + BA of every adapted layer for every token
        return tuple(_in_batches(features, _write, batch_size))


def _in_batches(
    features: Sequence[Feature], run: Callable[[Sequence[Feature]], list[_R]], batch_size: int
) -> list[_R]:
    """Returns what ``run`` gives for each feature, in order; the longest go first, together."""
    order = np.argsort([-len(feature["input_ids"]) for feature in features], kind="stable")
    done: list[_R] = []  # in the order of `order`
    while len(done) < len(order):
        chosen = order[len(done) : len(done) + batch_size]
        try:
            done.extend(run([features[index] for index in chosen]))
        except RuntimeError as error:
            if not is_out_of_memory(error) or batch_size == 1:
                raise
            batch_size = max(1, batch_size // 2)
    places = np.argsort(order, kind="stable")
    return [done[place] for place in places]


def measure_targets(
    model: Any, batch: dict[str, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the loss of every target token, and which tokens are targets, (rows, places) each.

    Logits are made only at places where some row has a target: most tokens belong to prompts, and
    of a small decoder the output layer is the greater part.

    Args:
        model: A causal language model that takes ``logits_to_keep``, as those of transformers do.
        batch: ``labels``, (rows, tokens), and the model's inputs.
    """
    losses, targets, _ = _measure_targets(model, batch)
    return losses, targets != IGNORED


def _measure_targets(
    model: Any, batch: dict[str, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Returns losses, targets and logits of ``measure_targets``; logits: (rows, places, words)."""
    inputs = {name: tensor for name, tensor in batch.items() if name != "labels"}
    following = batch["labels"][:, 1:]  # (rows, tokens - 1): each token predicts the next
    places = (following != IGNORED).any(dim=0).nonzero().squeeze(1)
    # A cache would be of no use, and keep the model from telling packed examples apart.
    logits = model(**inputs, use_cache=False, logits_to_keep=places).logits
    targets = following[:, places]  # (rows, places)
    losses = cross_entropy(
        logits.float().flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="none"
    )
    return losses.view(targets.shape), targets, logits


def _measure_losses(model: Any, batch: dict[str, torch.Tensor]) -> list[tuple[float, int, int]]:
    """Returns summed loss, number of response tokens and how many are most likely, of each row."""
    losses, targets, logits = _measure_targets(model, batch)
    are_targets = targets != IGNORED
    own = logits.gather(2, targets.clamp(min=0).unsqueeze(2)).squeeze(2)
    right = are_targets & (own == logits.amax(dim=2))
    counts = (each.sum(dim=1).tolist() for each in (losses.double(), are_targets, right))
    return list(zip(*counts, strict=True))


def _generate(
    model: Any,
    features: Sequence[Feature],
    tokenizer: Any,
    task: TaskSettings,
    device: torch.device,
) -> list[str]:
    """Returns what the model writes after each prompt, special tokens left out."""
    prompts = [feature["input_ids"][feature["labels"] == IGNORED] for feature in features]
    longest = max(map(len, prompts))
    # On the left, so that every prompt ends where its response starts.
    ids = np.full((len(prompts), longest), int(tokenizer.pad_token_id), dtype=np.int64)
    mask = np.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, longest - len(prompt) :] = prompt
        mask[row, longest - len(prompt) :] = 1
    room = max(1, int(tokenizer.model_max_length) - longest)
    ends = find_end_tokens(model, tokenizer)
    config = GenerationConfig(
        do_sample=False,
        max_new_tokens=min(task.generation.max_new_tokens, room),
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=ends,
    )
    written = model.generate(
        input_ids=torch.from_numpy(ids).to(device),
        attention_mask=torch.from_numpy(mask).to(device),
        generation_config=config,
    )
    said = [cut_at_end(row, ends) for row in written[:, longest:].tolist()]
    texts = tokenizer.batch_decode(said, skip_special_tokens=True)
    return [text.strip() for text in texts]
