"""How fast a model answers and how much memory it takes: measured, after a warm-up."""

import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch.nn.functional import cross_entropy

from phasewise.errors import InfeasibleRunError
from phasewise.inference.loading import LoadedModel
from phasewise.settings import CAUSAL_LM, Section
from phasewise.tasks.collation import build_collator
from phasewise.tasks.examples import Feature
from phasewise.training.device import peak_memory_mb, reset_peak_memory, wait_for_device

#: Single rows that are timed: the 95th percentile of 40 is their second largest.
_LATENCY_ROWS = 40
#: Rows of the throughput measurement; more would not change it.
_MOST_ROWS = 512
_WARM_UP_ROWS = 4
_MB = 1e6


class InferenceProfile(Section):
    """Speed and memory of forward passes; wall clock, on this machine."""

    rows: int
    batch_size: int
    tokens: int = Field(description="Of all rows, padding not counted.")
    tokens_per_second: float = Field(description="In batches sorted by length.")
    rows_per_second: float
    latency_p50_ms: float = Field(description="Of single rows, one after the other.")
    latency_p95_ms: float
    latency_rows: int = Field(description="Rows behind the latencies.")
    peak_memory_mb: float = Field(description="GPU: allocator peak. CPU: peak RSS.")
    weights_mb: float


class Perplexity(Section):
    """How well a causal model predicts texts."""

    perplexity: float
    mean_loss: float = Field(description="Nats per token.")
    tokens: int
    texts: int
    truncated: int = Field(description="Texts longer than max_length tokens, which were cut.")


def profile_inference(
    model: LoadedModel, features: Sequence[Feature], batch_size: int
) -> InferenceProfile:
    """Returns the speed of a model on these inputs.

    Args:
        model: The model.
        features: At least one; the first 512 are used.
        batch_size: Rows a forward pass.
    """
    rows = list(features[:_MOST_ROWS])
    _run(model, rows[:_WARM_UP_ROWS], 1)
    _run(model, rows[:batch_size], batch_size)
    reset_peak_memory(model.device)
    latencies = [_run(model, [row], 1) for row in rows[:_LATENCY_ROWS]]
    seconds = _run(model, rows, batch_size)
    tokens = sum(len(row["input_ids"]) for row in rows)
    p50, p95 = np.percentile(latencies, [50, 95])
    return InferenceProfile(
        rows=len(rows),
        batch_size=batch_size,
        tokens=tokens,
        tokens_per_second=tokens / seconds,
        rows_per_second=len(rows) / seconds,
        latency_p50_ms=1000 * float(p50),
        latency_p95_ms=1000 * float(p95),
        latency_rows=len(latencies),
        peak_memory_mb=peak_memory_mb(model.device),
        weights_mb=sum(p.numel() * p.element_size() for p in model.model.parameters()) / _MB,
    )


def measure_perplexity(
    model: LoadedModel, texts: Sequence[str], *, batch_size: int, max_length: int
) -> Perplexity:
    """Returns the perplexity of a causal model over whole texts, weighted by token.

    Args:
        model: A causal language model.
        texts: At least one; a text's first token is not foretold.
        batch_size: Rows a forward pass.
        max_length: Tokens of a text; the rest is cut, and counted.

    Raises:
        InfeasibleRunError: The loss is not finite, or no text has two tokens.
    """
    encoded = model.tokenizer(list(texts), truncation=False, verbose=False)["input_ids"]
    cut = sum(len(ids) > max_length for ids in encoded)
    rows = sorted((ids[:max_length] for ids in encoded if len(ids) > 1), key=len, reverse=True)
    total, tokens = 0.0, sum(len(ids) - 1 for ids in rows)
    for start in range(0, len(rows), batch_size):
        total += _sum_losses(model, rows[start : start + batch_size])
    if not tokens or not math.isfinite(total):
        raise InfeasibleRunError(
            f"{model.source.folder}: no finite loss over {tokens} tokens; expected texts of two "
            "tokens or more, and a model that has not diverged"
        )
    loss = total / tokens
    return Perplexity(
        perplexity=math.exp(min(loss, 700.0)),  # beyond it a float overflows
        mean_loss=loss,
        tokens=tokens,
        texts=len(texts),
        truncated=cut,
    )


def _run(model: LoadedModel, rows: Sequence[Feature], batch_size: int) -> float:
    """Returns the seconds of forward passes over the rows, tensors made and moved included."""
    collate = build_collator(model.tokenizer)
    ordered = sorted((_inputs(row) for row in rows), key=lambda row: -len(row["input_ids"]))
    # A decoder that answers needs the next token's logits, not those of the whole prompt.
    last = {"logits_to_keep": 1} if model.source.auto_class == CAUSAL_LM else {}
    wait_for_device(model.device)
    clock = time.perf_counter()
    with torch.inference_mode(), model.context():
        for start in range(0, len(ordered), batch_size):
            batch = collate(ordered[start : start + batch_size])
            inputs = {name: tensor.to(model.device) for name, tensor in batch.items()}
            model.model(**inputs, **last)
    wait_for_device(model.device)
    return time.perf_counter() - clock


def _inputs(row: Feature) -> Feature:
    wanted = ("input_ids", "attention_mask", "token_type_ids")
    return {name: row[name] for name in wanted if name in row}


def _sum_losses(model: LoadedModel, rows: Sequence[list[int]]) -> float:
    features: list[dict[str, Any]] = [
        {"input_ids": np.asarray(ids), "attention_mask": np.ones(len(ids), dtype=np.int64)}
        for ids in rows
    ]
    batch = {k: v.to(model.device) for k, v in build_collator(model.tokenizer)(features).items()}
    with torch.inference_mode(), model.context():
        logits = model.model(**batch, use_cache=False).logits[:, :-1].float()
    targets = batch["input_ids"][:, 1:].masked_fill(batch["attention_mask"][:, 1:] == 0, -100)
    loss = cross_entropy(logits.transpose(1, 2), targets, ignore_index=-100, reduction="sum")
    return float(loss)
