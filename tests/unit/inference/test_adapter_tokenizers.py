"""An adapter is used with the tokenizer and the chat template that its folder holds."""

from pathlib import Path
from typing import Any

import pytest
from final_study import read_csv, write_csv
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from phasewise.errors import ConfigError
from phasewise.inference.inputs import task_of_model
from phasewise.inference.loading import load_folder_tokenizer, load_model, read_model_folder
from phasewise.inference.merging import merge_adapter
from phasewise.inference.predicting import predict_file
from phasewise.methods.adapt import save_model
from tiny_models import write_tiny_bert, write_tiny_decoder

_TEMPLATE = "{% for m in messages %}<{{ m.content }}>{% endfor %}"


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    base = write_tiny_decoder(tmp_path / "base")
    config = LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM")
    save_model(
        get_peft_model(AutoModelForCausalLM.from_pretrained(base), config), tmp_path / "adapter"
    )
    return tmp_path / "adapter"


def _add_tokenizer(adapter: Path) -> Any:
    """The base's with another end token and a template."""
    own = AutoTokenizer.from_pretrained(adapter.parent / "base")
    own.eos_token = "!"
    own.chat_template = _TEMPLATE
    own.save_pretrained(adapter)
    return own


def test_without_files_it_is_the_bases(adapter: Path) -> None:
    tokenizer = load_folder_tokenizer(read_model_folder(adapter))
    assert (tokenizer.eos_token_id, tokenizer.chat_template) == (0, None)


def test_its_own_tokenizer_and_template_are_read_and_merged(adapter: Path, tmp_path: Path) -> None:
    own = _add_tokenizer(adapter)
    loaded = load_model(read_model_folder(adapter), "cpu")
    assert loaded.tokenizer.eos_token_id == own.eos_token_id != 0
    assert loaded.tokenizer.chat_template == _TEMPLATE
    task = task_of_model(loaded.source, ["q"], None)
    assert task.prompt is not None
    assert task.prompt.chat == "model"
    merged = merge_adapter(adapter, tmp_path / "merged", device="cpu").folder
    again = AutoTokenizer.from_pretrained(merged)
    assert (again.eos_token_id, again.chat_template) == (own.eos_token_id, _TEMPLATE)
    source = write_csv(tmp_path / "ask.csv", ("q",), [("why",), ("how are you",)])
    said = []
    for folder in (adapter, merged):
        output = tmp_path / f"{folder.name}.csv"
        predict_file([folder], source, output, text=["q"], device="cpu", say=lambda line: None)
        said.append(read_csv(output))
    assert said[0] == said[1]


def test_a_template_alone_goes_with_the_bases_tokenizer(adapter: Path) -> None:
    (adapter / "chat_template.jinja").write_text(_TEMPLATE, encoding="utf-8")
    tokenizer = load_folder_tokenizer(read_model_folder(adapter))
    assert (tokenizer.eos_token_id, tokenizer.chat_template) == (0, _TEMPLATE)


def test_lengths_fit_the_models_positions(adapter: Path) -> None:
    source = read_model_folder(adapter)
    assert task_of_model(source, ["q"], None).max_length == 256
    with pytest.raises(ConfigError, match="--max-length 257: expected at most 256"):
        task_of_model(source, ["q"], 257)


def test_a_model_of_several_labels_a_text_is_no_classifier_here(tmp_path: Path) -> None:
    from transformers import BertConfig, BertForSequenceClassification

    base = write_tiny_bert(tmp_path)
    config = BertConfig.from_pretrained(base, problem_type="multi_label_classification")
    BertForSequenceClassification(config).save_pretrained(base)
    with pytest.raises(ConfigError, match="expected a classifier of one label a text"):
        task_of_model(read_model_folder(base), ["text"], None)
