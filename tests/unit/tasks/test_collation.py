from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from phasewise.errors import ConfigError
from phasewise.tasks.collation import build_collator, build_packing_collator

TOKENIZER = SimpleNamespace(pad_token_id=9, pad_token_type_id=3, padding_side="left")


def test_rows_are_padded_on_the_right_with_the_tokenizers_values() -> None:
    features = [
        {"input_ids": np.array([1, 2]), "attention_mask": np.array([1, 1]),
         "token_type_ids": np.array([0, 1]), "labels": 1},
        {"input_ids": np.array([4]), "attention_mask": np.array([1]),
         "token_type_ids": np.array([0]), "labels": 0},
    ]  # fmt: skip
    batch = build_collator(TOKENIZER)(features)
    assert batch["input_ids"].tolist() == [[1, 2], [4, 9]]
    assert batch["attention_mask"].tolist() == [[1, 1], [1, 0]]
    assert batch["token_type_ids"].tolist() == [[0, 1], [0, 3]]
    assert batch["labels"].tolist() == [1, 0]
    assert {tensor.dtype for tensor in batch.values()} == {torch.int64}


def test_a_tokenizer_without_padding_token_is_refused() -> None:
    with pytest.raises(ConfigError, match="no padding token"):
        build_collator(SimpleNamespace(pad_token_id=None))


def test_batches_are_those_of_transformers(tokenizer: Any) -> None:
    encoded = [tokenizer(text) for text in ("a good film", "bad")]
    features = [{name: np.asarray(row[name]) for name in row} for row in encoded]
    expected = tokenizer.pad(encoded, return_tensors="pt")
    batch = build_collator(tokenizer)(features)
    assert all(torch.equal(batch[name], expected[name]) for name in expected)


def test_packed_rows_start_anew_with_each_example_and_count_their_tokens() -> None:
    features = [
        {"input_ids": np.arange(start, start + length), "labels": np.full(length, start)}
        for start, length in ((10, 3), (20, 6), (30, 2), (40, 4))
    ]
    batch = build_packing_collator(SimpleNamespace(pad_token_id=0), capacity=8)(features)
    assert batch["input_ids"].tolist() == [
        [20, 21, 22, 23, 24, 25, 30, 31],
        [40, 41, 42, 43, 10, 11, 12, 0],
    ]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 3, 4, 5, 0, 1], [0, 1, 2, 3, 0, 1, 2, 0]]
    assert batch["labels"].tolist() == [[20] * 6 + [30] * 2, [40] * 4 + [10] * 3 + [-100]]
    assert int(batch["token_count"]) == 15
