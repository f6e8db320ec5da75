"""A head that was drawn unluckily does not keep a model's runs from training together."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

from phasewise.methods.models import BaseModel
from phasewise.training.packed import model as packed_model
from phasewise.training.packed.layout import CannotPackError
from phasewise.training.packed.model import PackedModel


def _base() -> BaseModel:
    config = AutoConfig.for_model(
        "bert",
        vocab_size=200,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=32,
    )
    torch.manual_seed(3)
    model = AutoModelForSequenceClassification.from_config(config).eval().requires_grad_(False)
    return BaseModel(model, ("classifier",))


def _refuse(monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """Has the comparison find the logits too far apart so many times."""
    real, left = packed_model.is_close, iter([False] * times)

    def judge(found: torch.Tensor, expected: torch.Tensor, dtype: torch.dtype) -> bool:
        return next(left, True) and real(found, expected, dtype)

    monkeypatch.setattr(packed_model, "is_close", judge)


def test_another_head_is_drawn_where_one_disagrees(monkeypatch: pytest.MonkeyPatch) -> None:
    base = _base()
    first = base.model.classifier.weight.clone()
    _refuse(monkeypatch, 2)
    PackedModel(base)
    assert not torch.equal(base.model.classifier.weight, first)


def test_a_model_that_disagrees_with_every_head_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    _refuse(monkeypatch, 4)
    with pytest.raises(CannotPackError, match="BertForSequenceClassification computes otherwise"):
        PackedModel(_base())
