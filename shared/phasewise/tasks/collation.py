"""Batches of features as padded tensors; the only module of ``tasks`` that needs torch."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from phasewise.errors import ConfigError
from phasewise.tasks.examples import Feature

if TYPE_CHECKING:
    import torch


def build_collator(tokenizer: Any) -> Callable[[Sequence[Feature]], dict[str, "torch.Tensor"]]:
    """Returns a function from features to int64 tensors, (batch, longest of it) or (batch,).

    Rows are padded on the right whatever the tokenizer prefers: positions of spans count from the
    left, and transformers' sequence heads look for the last token that is not padding.

    Raises:
        ConfigError: The tokenizer has no padding token.
    """
    import torch

    if tokenizer.pad_token_id is None:
        raise ConfigError(
            f"{type(tokenizer).__name__} has no padding token; "
            "expected the model's loader to choose one (usually the end-of-text token)"
        )
    fill = {
        "input_ids": int(tokenizer.pad_token_id),
        "token_type_ids": int(getattr(tokenizer, "pad_token_type_id", 0) or 0),
    }

    def _collate(features: Sequence[Feature]) -> dict[str, torch.Tensor]:
        batch = {}
        for name, first in features[0].items():
            if np.ndim(first) == 0:
                batch[name] = torch.tensor([int(feature[name]) for feature in features])
                continue
            longest = max(len(feature[name]) for feature in features)
            rows = np.full((len(features), longest), fill.get(name, 0), dtype=np.int64)
            for row, feature in zip(rows, features, strict=True):
                row[: len(feature[name])] = feature[name]
            batch[name] = torch.from_numpy(rows)  # (batch, longest)
        return batch

    return _collate
