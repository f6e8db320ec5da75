"""The last block computes one token per row where no more are read, and all of them otherwise."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

from phasewise.methods.models import BaseModel
from phasewise.training.dropout import Stream
from phasewise.training.packed.layout import Member
from phasewise.training.packed.model import PackedModel

_IDS = torch.tensor([[101, 7, 8, 9, 102], [101, 11, 102, 0, 0], [101, 5, 6, 102, 0]])
_BATCH = {"input_ids": _IDS, "attention_mask": (_IDS > 0).long()}


def _base(family: str) -> BaseModel:
    size = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = AutoConfig.for_model(
        family, vocab_size=200, pad_token_id=0, intermediate_size=32, num_labels=3, **size
    )
    torch.manual_seed(3)
    model = AutoModelForSequenceClassification.from_config(config).eval().requires_grad_(False)
    return BaseModel(model, ("score",) if family == "llama" else ("classifier",))


def _run(base: BaseModel, down: str) -> tuple[torch.Tensor, tuple[int, ...]]:
    """Returns the packed logits, and what the layer ``down`` of the last block gave."""
    packed = PackedModel(base)
    seen: list[tuple[int, ...]] = []
    layer = packed._model.get_submodule(down)
    layer.register_forward_hook(lambda module, args, out: seen.append(tuple(out.shape)))
    heads = {n: dict(base.model.get_submodule(n).named_parameters()) for n in base.fresh_modules}
    members = [(Member({}, heads, Stream(0, torch.device("cpu"))), rows) for rows in (1, 2)]
    packed.train(False)
    logits = packed(members, _BATCH)
    (shape,) = seen
    return logits, shape


_DOWN = {
    "bert": "bert.encoder.layer.1.output.dense",
    "distilbert": "distilbert.transformer.layer.1.ffn.lin2",
    "llama": "model.layers.1.mlp.down_proj",
}


@pytest.mark.parametrize("family", _DOWN)
def test_only_the_token_that_is_read_passes_the_last_block(family: str) -> None:
    base = _base(family)
    logits, shape = _run(base, _DOWN[family])
    assert shape == (1, 3, 16)
    torch.testing.assert_close(logits, base.model(**_BATCH).logits, rtol=1e-4, atol=1e-6)


def test_a_head_that_reads_more_tokens_gets_them_all(monkeypatch: pytest.MonkeyPatch) -> None:
    base = _base("bert")
    pooler = type(base.model.bert.pooler)
    monkeypatch.setattr(pooler, "forward", lambda _, states: states[:, :2].mean(1))
    logits, shape = _run(base, _DOWN["bert"])
    assert shape == (1, 16, 16)  # 12 tokens and filler
    torch.testing.assert_close(logits, base.model(**_BATCH).logits, rtol=1e-4, atol=1e-6)
