"""A merged model answers as the adapter did, and needs nothing but transformers."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import (
    IA3Config,
    LoraConfig,
    PeftConfig,
    PromptTuningConfig,
    VeraConfig,
    get_peft_model,
)
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from phasewise.errors import ConfigError
from phasewise.inference.loading import load_model, read_model_folder
from phasewise.inference.merging import merge_adapter
from phasewise.methods.adapt import save_model
from tiny_models import write_tiny_decoder

_IDS = torch.tensor([[101, 2008, 2003, 2183, 2017, 102], [101, 2023, 2003, 2204, 1012, 102]])
_BYTES = torch.tensor([[65, 66, 67, 68, 69, 70], [97, 98, 99, 100, 101, 102]])


def _logits(model: Any, ids: torch.Tensor = _IDS) -> torch.Tensor:
    with torch.inference_mode():
        logits: torch.Tensor = model.eval()(input_ids=ids).logits
    return logits.float()


@pytest.mark.parametrize(
    ("method", "tolerance"),
    [("lora", 1e-5), ("dora", 1e-5), ("rslora", 1e-5), ("qlora", 1e-4), ("int8_lora", 2e-2)],
)
def test_the_merged_model_answers_like_the_adapter(
    trained: Callable[[str], Path], tmp_path: Path, method: str, tolerance: float
) -> None:
    merged = merge_adapter(trained(method), tmp_path / "merged", device="cpu")
    assert merged.difference < 1e-5
    assert merged.was_quantized == (method in {"qlora", "int8_lora"})
    adapter = load_model(read_model_folder(trained(method)), "cpu").model
    plain, info = AutoModelForSequenceClassification.from_pretrained(
        tmp_path / "merged", output_loading_info=True
    )
    assert not info["missing_keys"]
    assert plain.config.id2label == {0: "sport", 1: "film", 2: "letter"}
    assert "quantization_config" not in json.loads((tmp_path / "merged/config.json").read_text())
    torch.testing.assert_close(_logits(plain), _logits(adapter), atol=tolerance, rtol=0)
    ours = load_model(read_model_folder(tmp_path / "merged"), "cpu").model
    torch.testing.assert_close(_logits(ours), _logits(plain), atol=1e-6, rtol=0)


@pytest.mark.parametrize("end", ["lm_head", "embed_tokens"])
def test_an_adapted_head_parts_from_the_embedding_that_it_shared(tmp_path: Path, end: str) -> None:
    base = AutoModelForCausalLM.from_pretrained(write_tiny_decoder(tmp_path / "llama"))
    assert base.lm_head.weight is base.model.embed_tokens.weight
    config = LoraConfig(r=4, target_modules=["q_proj", end], task_type="CAUSAL_LM")
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # PEFT tells of the tie too
        adapted = get_peft_model(base, config)
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                torch.nn.init.normal_(parameter, std=0.2)
        save_model(adapted, tmp_path / "adapter")
        expected = _logits(adapted, _BYTES)
        merged = merge_adapter(tmp_path / "adapter", tmp_path / "merged", device="cpu")
    assert merged.difference < 1e-5
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    torch.testing.assert_close(_logits(plain, _BYTES), expected, atol=1e-5, rtol=1e-5)
    untouched = {"lm_head": plain.model.embed_tokens, "embed_tokens": plain.lm_head}[end]
    original = AutoModelForCausalLM.from_pretrained(tmp_path / "llama").lm_head.weight
    torch.testing.assert_close(untouched.weight, original)
    assert not plain.config.tie_word_embeddings


def test_merging_changes_the_base_at_all(trained: Callable[[str], Path], tmp_path: Path) -> None:
    """Guards the test above: an adapter that does nothing would pass it."""
    adapter = load_model(read_model_folder(trained("lora")), "cpu").model
    with adapter.disable_adapter():
        without = _logits(adapter)
    assert (_logits(adapter) - without).abs().max() > 1e-2


def test_half_precision_is_written_on_demand(
    trained: Callable[[str], Path], tmp_path: Path
) -> None:
    merge_adapter(trained("lora"), tmp_path / "merged", dtype="bfloat16", device="cpu")
    assert json.loads((tmp_path / "merged/config.json").read_text())["dtype"] == "bfloat16"


def test_an_adapter_that_is_no_change_of_weights_is_refused_by_name(tmp_path: Path) -> None:
    base = AutoModelForCausalLM.from_pretrained(write_tiny_decoder(tmp_path / "llama"))
    config = PromptTuningConfig(num_virtual_tokens=2, task_type="CAUSAL_LM")
    save_model(get_peft_model(base, config), tmp_path / "adapter")
    with pytest.raises(ConfigError, match="PEFT cannot merge an adapter of type PROMPT_TUNING"):
        merge_adapter(tmp_path / "adapter", tmp_path / "merged", device="cpu")
    assert not (tmp_path / "merged").exists()


@pytest.mark.parametrize(
    "config",
    [
        VeraConfig(r=8, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"),
        IA3Config(
            target_modules=["k_proj", "v_proj", "down_proj"],
            feedforward_modules=["down_proj"],
            task_type="CAUSAL_LM",
        ),
        LoraConfig(
            r=4, target_modules=["q_proj"], init_lora_weights="pissa", task_type="CAUSAL_LM"
        ),
        LoraConfig(
            r=4, target_modules=["q_proj"], init_lora_weights="olora", task_type="CAUSAL_LM"
        ),
    ],
    ids=["vera", "ia3", "pissa", "olora"],
)
def test_other_adapters_of_peft_merge_too(tmp_path: Path, config: PeftConfig) -> None:
    base = AutoModelForCausalLM.from_pretrained(write_tiny_decoder(tmp_path / "llama"))
    torch.manual_seed(0)
    adapted = get_peft_model(base, config)
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data += 0.1 * torch.randn_like(parameter)
    save_model(adapted, tmp_path / "adapter")
    expected = _logits(adapted, _BYTES)
    merge_adapter(tmp_path / "adapter", tmp_path / "merged", device="cpu")
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    torch.testing.assert_close(_logits(plain, _BYTES), expected, atol=1e-4, rtol=1e-4)


def test_what_cannot_be_merged_is_refused(trained: Callable[[str], Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds a whole model already"):
        merge_adapter(trained("full_finetune"), tmp_path / "merged")
    with pytest.raises(ConfigError, match=r"expected a model folder .* no such folder"):
        merge_adapter(tmp_path / "nothing", tmp_path / "merged")
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="expected a new folder"):
        merge_adapter(trained("lora"), tmp_path)
