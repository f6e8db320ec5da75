"""Perplexity against transformers' own loss, and what is refused; times are only sane."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from phasewise.errors import InfeasibleRunError
from phasewise.inference.loading import load_model, read_model_folder
from phasewise.inference.profiling import measure_perplexity, profile_inference
from tiny_models import write_tiny_decoder


def test_perplexity_is_that_of_transformers_own_loss(tmp_path: Path) -> None:
    texts = ["a", "hello, world", "Grüße\nund mehr", "x" * 40]
    folder = write_tiny_decoder(tmp_path / "llama")
    loaded = load_model(read_model_folder(folder), "cpu", exact=True)
    found = measure_perplexity(loaded, texts, batch_size=2, max_length=32)
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    total, tokens = 0.0, 0
    for text in texts[1:]:  # the first has one token: nothing to predict
        ids = tokenizer(text, truncation=True, max_length=32, return_tensors="pt")["input_ids"]
        with torch.inference_mode():
            total += float(model(ids, labels=ids).loss) * (ids.shape[1] - 1)
        tokens += ids.shape[1] - 1
    assert found.perplexity == pytest.approx(math.exp(total / tokens), rel=1e-5)
    assert (found.tokens, found.truncated) == (tokens, 1)


def test_texts_of_one_token_have_no_perplexity(tmp_path: Path) -> None:
    loaded = load_model(read_model_folder(write_tiny_decoder(tmp_path / "llama")), "cpu")
    with pytest.raises(InfeasibleRunError, match="no finite loss over 0 tokens"):
        measure_perplexity(loaded, ["a", "b"], batch_size=2, max_length=8)


def test_a_profile_counts_tokens_without_padding(tmp_path: Path) -> None:
    loaded = load_model(read_model_folder(write_tiny_decoder(tmp_path / "llama")), "cpu")
    features = [
        {"input_ids": np.full(n, 5), "attention_mask": np.ones(n, dtype=np.int64)} for n in (3, 9)
    ]
    profile = profile_inference(loaded, features, batch_size=2)
    assert (profile.tokens, profile.rows, profile.latency_rows) == (12, 2, 2)
    weights = sum(p.numel() * p.element_size() for p in loaded.model.parameters())
    assert profile.weights_mb == pytest.approx(weights / 1e6)
    assert profile.peak_memory_mb > profile.weights_mb
