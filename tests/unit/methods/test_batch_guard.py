"""Rows that score otherwise in a batch: the model is refused, the cause named."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, ConvBertConfig, ConvBertModel

from phasewise.errors import ConfigError
from phasewise.methods import batch_guard
from phasewise.methods.batch_guard import require_rows_apart
from phasewise.methods.models import load_base_model, load_tokenizer
from phasewise.settings import CAUSAL_LM, CLASSIFIER, ModelSettings
from tiny_models import FAMILIES, write_byte_tokenizer, write_tiny_bert, write_tiny_decoder


@pytest.fixture(autouse=True)
def _nothing_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_guard, "_passed", set())


def _load(folder: Path, auto_class: str = CLASSIFIER, **more: Any) -> Any:
    model = ModelSettings(source=str(folder))
    kwargs = {"num_labels": 2} if auto_class == CLASSIFIER else {}
    tokenizer = load_tokenizer(model)
    return load_base_model(
        model, auto_class=auto_class, kwargs=kwargs, tokenizer=tokenizer, **more
    ).model


@pytest.mark.parametrize("auto_class", [CLASSIFIER, CAUSAL_LM])
@pytest.mark.parametrize("family", FAMILIES)
def test_decoders_pass_whatever_their_config_says(
    tmp_path: Path, family: str, auto_class: str
) -> None:
    folder = write_tiny_decoder(tmp_path, family, pad_token_id=300)
    for dtype in (torch.float32, torch.bfloat16):
        _load(folder, auto_class, dtype=dtype)
        assert batch_guard._passed


@pytest.mark.parametrize("auto_class", [CLASSIFIER, "AutoModel", "AutoModelForQuestionAnswering"])
def test_an_encoder_is_run_once_per_state_of_its_files(
    tmp_path: Path, auto_class: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []
    compare = batch_guard._compare

    def count(*arguments: Any) -> float:
        asked.append(compare(*arguments))
        return asked[-1]

    monkeypatch.setattr(batch_guard, "_compare", count)
    folder = write_tiny_bert(tmp_path)
    for _ in range(2):
        _load(folder, auto_class)
    assert len(asked) == 1
    assert 0 < asked[0] < 1e-5
    (folder / "config.json").write_text((folder / "config.json").read_text() + "\n")
    _load(folder, auto_class)
    assert len(asked) == 2


def test_an_architecture_that_reads_padding_is_refused(tmp_path: Path) -> None:
    """ConvBERT's convolutions span the padding after a row."""
    write_byte_tokenizer(tmp_path)
    config = ConvBertConfig(
        vocab_size=320,
        hidden_size=32,
        embedding_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        initializer_range=0.3,
        intermediate_size=48,
        pad_token_id=0,
    )
    ConvBertModel(config).save_pretrained(tmp_path)
    with pytest.raises(ConfigError) as caught:
        _load(tmp_path)
    message = str(caught.value)
    assert "\n" not in message
    assert "its architecture (convbert) reads the padding; choose another model" in message


def test_another_padding_token_than_the_tokenizers_is_named(tmp_path: Path) -> None:
    folder = write_tiny_decoder(tmp_path, pad_token_id=300)
    tokenizer = load_tokenizer(ModelSettings(source=str(folder)))
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with pytest.raises(ConfigError, match="names padding token 300, its tokenizer 0; choose"):
        require_rows_apart(model, ("score",), tokenizer, "base", folder)
    model.config.pad_token_id = 0
    require_rows_apart(model, ("score",), tokenizer, "base", folder)


def test_rows_that_change_each_other_without_padding_are_named(tmp_path: Path) -> None:
    folder = write_tiny_bert(tmp_path)
    model = _load(folder)
    tokenizer = load_tokenizer(ModelSettings(source=str(folder)))
    model.classifier = torch.nn.Sequential(model.classifier, _OfTheBatch())
    batch_guard._passed.clear()
    with pytest.raises(ConfigError, match=r"rows change each other in its architecture \(bert\)"):
        require_rows_apart(model, ("classifier",), tokenizer, "base", folder)


class _OfTheBatch(torch.nn.Module):
    def forward(self, logits: torch.Tensor) -> torch.Tensor:
        return logits + logits.sum(dim=0, keepdim=True)
