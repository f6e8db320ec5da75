"""Predicted peaks, against worlds whose memory is known."""

from pathlib import Path
from typing import Any

import pytest

from fake_pool import build_record, write_tuning_study
from phasewise.records import RunCost, RunRecord
from phasewise.runs import build_seeds
from phasewise.tuning.memory import MemoryModel
from phasewise.tuning.units import Unit

LENGTH = 100
#: A world: 2 GB fixed, 16 bytes per trained weight, 1 MB per token.
FIXED_GB, TOKEN_GB = 2.0, 1e-3


@pytest.fixture
def measured(tmp_path: Path) -> Any:
    unit = Unit(write_tuning_study(tmp_path), "toy", "lora")

    def build(rank: int, batch: int, length: int | None = None) -> RunRecord:
        update = {"lora_rank": rank, "batch_size": batch, "max_length": length}
        chosen = unit.default.model_copy(update=update)
        job = unit.job("trial", 0, chosen, build_seeds(0, "phase1", "toy", 0))
        weights = 1_000_000 * rank
        peak = FIXED_GB + 16 * weights / 1e9 + TOKEN_GB * batch * (length or LENGTH)
        cost = RunCost(
            train_seconds=1,
            total_seconds=1,
            peak_memory_mb=1e3 * peak,
            train_tokens=1,
            trainable_parameters=weights,
            total_parameters=10 * weights,
            adapter_bytes=1,
            micro_batch_size=batch,
        )
        return build_record(job.config, "finished").model_copy(update={"cost": cost})

    return build


def predicted(model: MemoryModel, record: RunRecord) -> tuple[float, float]:
    assert record.cost is not None
    assert record.cost.peak_memory_mb is not None
    got = model.predict_gb(record.config.hyperparameters)
    assert got is not None
    return got, record.cost.peak_memory_mb / 1e3


def test_nothing_measured_predicts_nothing(measured: Any) -> None:
    model = MemoryModel(None, max_length=LENGTH, micro_batch_size=None)
    assert model.predict_gb(measured(8, 4).config.hyperparameters) is None


def test_two_sizes_give_constant_and_slope(measured: Any) -> None:
    model = MemoryModel(None, max_length=LENGTH, micro_batch_size=None)
    for record in (measured(8, 4), measured(8, 16)):
        model.learn(record)
    for rank, batch, length in [(8, 8, None), (64, 32, None), (16, 16, 50)]:
        got, truth = predicted(model, measured(rank, batch, length))
        assert got == pytest.approx(truth, rel=1e-6)


def test_one_size_takes_the_slope_from_the_models_shape(measured: Any) -> None:
    model = MemoryModel(TOKEN_GB * 1e9, max_length=LENGTH, micro_batch_size=None)
    model.learn(measured(8, 4))
    got, truth = predicted(model, measured(32, 32))
    assert got == pytest.approx(truth, rel=1e-6)


def test_shape_never_explains_more_than_was_measured(measured: Any) -> None:
    model = MemoryModel(1e12, max_length=LENGTH, micro_batch_size=None)
    model.learn(measured(8, 4))
    got, _ = predicted(model, measured(8, 8))
    assert got == pytest.approx(2 * (FIXED_GB + TOKEN_GB * 400) + 0.128, rel=1e-6)


def test_micro_batches_bound_the_tokens(measured: Any) -> None:
    model = MemoryModel(TOKEN_GB * 1e9, max_length=LENGTH, micro_batch_size=4)
    model.learn(measured(8, 4))
    assert model.predict_gb(measured(8, 64).config.hyperparameters) == pytest.approx(
        FIXED_GB + 0.128 + TOKEN_GB * 400
    )
