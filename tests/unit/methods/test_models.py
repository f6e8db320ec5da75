from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from phasewise.errors import ConfigError
from phasewise.methods.models import BaseModel, load_base_model, load_tokenizer
from phasewise.settings import ModelSettings
from tiny_models import write_tiny_decoder

Loader = Callable[..., BaseModel]


def test_the_fresh_head_is_named_and_nothing_is_printed(
    load_tiny: Loader, capfd: pytest.CaptureFixture[str]
) -> None:
    base = load_tiny()
    assert base.fresh_modules == ("classifier",)
    assert not base.model.training
    assert capfd.readouterr() == ("", "")


def test_weights_missing_outside_the_head_count_as_fresh(tiny_folder: Path, tmp_path: Path) -> None:
    from transformers import BertModel

    BertModel.from_pretrained(tiny_folder, add_pooling_layer=False).save_pretrained(tmp_path)
    base = load_base_model(
        ModelSettings(source=str(tmp_path)),
        auto_class="AutoModelForSequenceClassification",
        kwargs={"num_labels": 2},
        tokenizer=None,
    )
    assert base.fresh_modules == ("classifier", "bert.pooler.dense")


def test_layers_cuts_the_model(load_tiny: Loader) -> None:
    base = load_tiny(layers=1)
    assert len(base.model.bert.encoder.layer) == 1
    with pytest.raises(ConfigError, match="has 2 layers, got 3"):
        load_tiny(layers=3)


def test_a_decoder_gets_a_pad_token(tmp_path: Path) -> None:
    model = ModelSettings(source=str(write_tiny_decoder(tmp_path, "gpt2", pad_token_id=None)))
    base = load_base_model(
        model,
        auto_class="AutoModelForSequenceClassification",
        kwargs={"num_labels": 2},
        tokenizer=load_tokenizer(model),
    )
    batch = torch.tensor([[3, 4, 0], [3, 4, 5]])  # without a pad token batches are refused
    assert base.model(input_ids=batch).logits.shape == (2, 2)
    assert base.fresh_modules == ("score",)


def test_a_folder_that_is_no_model_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ConfigError, match="cannot be loaded as AutoModel") as caught:
        load_base_model(
            ModelSettings(source=str(tmp_path)), auto_class="AutoModel", kwargs={}, tokenizer=None
        )
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="no tokenizer"):
        load_tokenizer(ModelSettings(source=str(tmp_path)))


def test_quantization_spares_the_head_and_the_cpu_repacking(load_tiny: Loader) -> None:
    base = load_tiny(quantization="nf4")
    assert type(base.model.classifier) is torch.nn.Linear
    layer = base.model.bert.encoder.layer[0].attention.self.query
    assert type(layer).__name__ == "Linear4bit"
    assert layer.support_avx512bf16_for_cpu is False
