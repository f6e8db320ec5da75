"""Rows on which a packed model is compared with its base model, and how close it must come."""

from typing import Any

import torch

from phasewise.tasks.instruction import IGNORED

#: Largest relative difference between a packed model's logits and the base model's (float32; the
#: order of sums differs) that the check of a new architecture lets pass; bfloat16 has 8 bits.
_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 5e-2}


def is_close(found: torch.Tensor, expected: torch.Tensor, dtype: torch.dtype) -> bool:
    """Whether all logits or losses are there and close; NaN is not."""
    if found.shape != expected.shape:
        return False
    allowed = _TOLERANCE.get(dtype, 5e-2) * float(expected.abs().max())
    return float((found.float() - expected).abs().max()) <= allowed


def build_probe(config: Any, device: torch.device) -> dict[str, torch.Tensor]:
    """Returns three rows of 5, 9 and 7 tokens that are neither padding nor special, if possible."""
    lengths, pad = (5, 9, 7), int(config.pad_token_id or 0)
    tokens = torch.arange(27).view(3, 9) * 37 % max(1, int(config.vocab_size) - 10) + 5
    tokens[tokens == pad] = pad + 1
    mask = torch.arange(9).unsqueeze(0) < torch.tensor(lengths).unsqueeze(1)
    tokens = torch.where(mask, tokens, torch.tensor(pad))
    return {"input_ids": tokens.to(device), "attention_mask": mask.long().to(device)}


def label_probe(batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Returns labels that make every token of a batch a target, int64 (rows, longest)."""
    return batch["input_ids"].masked_fill(batch["attention_mask"] == 0, IGNORED)


def losses_of_logits(logits: torch.Tensor, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Returns the loss of each token but the first of a row, as the base model's logits have it."""
    following = label_probe(batch)[:, 1:]
    ahead = logits[:, :-1].log_softmax(-1).gather(2, following.clamp(min=0).unsqueeze(2))
    return -ahead.squeeze(2)[following != IGNORED]
