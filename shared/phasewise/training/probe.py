"""What a model knows before any fine-tuning: frozen embeddings, and zero-shot entailment."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from phasewise.methods.base_config import load_config
from phasewise.methods.models import load_base_model, load_tokenizer
from phasewise.settings import CLASSIFIER, ModelSettings, TaskSettings
from phasewise.tasks.collation import build_collator
from phasewise.tasks.examples import Example, Feature

#: How a class name becomes a hypothesis, after Yin et al. 2019 (arXiv 1909.00161); the wording is
#: the default of transformers' zero-shot pipeline.
_HYPOTHESIS = "This example is {}."


def embed_features(
    model: ModelSettings, features: Sequence[Feature], *, batch_size: int, device: torch.device
) -> NDArray[np.float32]:
    """Returns (features, hidden size): the last hidden states of the frozen model, mean of tokens.

    Args:
        model: The study's model.
        features: Tokenized with the model's tokenizer; targets in them are ignored.
        batch_size: Rows per forward pass.
        device: Where the model runs, in float32.

    Raises:
        ConfigError: The model cannot be loaded.
    """
    tokenizer = load_tokenizer(model)
    network = load_base_model(
        model,
        auto_class="AutoModel",
        kwargs={},
        tokenizer=tokenizer,
        device=device,
    ).model
    parts: dict[int, NDArray[np.float32]] = {}
    for rows, batch in _batches(features, tokenizer, batch_size, device):
        hidden = _last_hidden_state(network, batch)  # (batch, tokens, hidden size)
        mask = batch["attention_mask"][:, :, None].to(hidden.dtype)
        means = (hidden * mask).sum(dim=1) / mask.sum(dim=1)  # (batch, hidden size)
        parts.update(zip(rows, means.float().cpu().numpy(), strict=True))
    return np.stack([parts[row] for row in range(len(features))])


def entailment_label(model: ModelSettings) -> int | None:
    """Returns the index of the class "entailment" if the model was tuned on NLI; else None."""
    names = {str(name).lower(): index for index, name in load_config(model).id2label.items()}
    return int(names["entailment"]) if "entailment" in names else None


def score_hypotheses(
    model: ModelSettings,
    task: TaskSettings,
    examples: Sequence[Example],
    entailment: int,
    *,
    batch_size: int,
    device: torch.device,
) -> NDArray[np.float64]:
    """Returns (examples, classes): how much each text entails "This example is <class>."

    Args:
        model: A model tuned on natural language inference.
        task: Classification of one text.
        examples: What is scored.
        entailment: Index of that class in the model's head.
        batch_size: Rows per forward pass.
        device: Where the model runs, in float32.
    """
    tokenizer = load_tokenizer(model)
    network = load_base_model(
        model, auto_class=CLASSIFIER, kwargs={}, tokenizer=tokenizer, device=device
    ).model
    hypotheses = [_HYPOTHESIS.format(name.replace("_", " ")) for name in task.labels]
    texts = [example.texts[0] for example in examples for _ in hypotheses]
    encoded = tokenizer(
        texts, hypotheses * len(examples), truncation="only_first", max_length=task.max_length
    )
    features = [
        {name: np.asarray(encoded[name][row]) for name in encoded} for row in range(len(texts))
    ]
    logits = np.zeros(len(texts))
    for rows, batch in _batches(features, tokenizer, batch_size, device):
        with torch.inference_mode():
            logits[rows] = network(**batch).logits[:, entailment].float().cpu().numpy()
    return logits.reshape(len(examples), len(hypotheses))


def _last_hidden_state(network: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    with torch.inference_mode():
        hidden: torch.Tensor = network(**batch).last_hidden_state
    return hidden


def _batches(
    features: Sequence[Feature], tokenizer: Any, batch_size: int, device: torch.device
) -> Iterator[tuple[list[int], dict[str, torch.Tensor]]]:
    """Yields (row numbers, model inputs), rows of like length together: little padding."""
    collate = build_collator(tokenizer)
    known = {"input_ids", "attention_mask", "token_type_ids"}
    order = sorted(range(len(features)), key=lambda row: len(features[row]["input_ids"]))
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        inputs = [{k: v for k, v in features[row].items() if k in known} for row in rows]
        yield rows, {name: tensor.to(device) for name, tensor in collate(inputs).items()}
