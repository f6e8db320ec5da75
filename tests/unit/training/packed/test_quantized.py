"""Packed runs on a base in 4 or 8 bits against the same runs alone through PEFT."""

import copy
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - as everywhere

from phasewise.methods.models import share_weights
from phasewise.records import RunRecord
from phasewise.settings import MachineSettings
from phasewise.training.auto_engine import AutoEngine, TrainedAloneWarning
from phasewise.training.dropout import Stream
from phasewise.training.interface import Engine, RunJob
from phasewise.training.packed.layout import Member, build_layout, use_layout
from phasewise.training.packed.quantized import QuantizedLinear
from phasewise.training.trainer_engine import TrainerEngine

Jobs = Callable[..., RunJob]
_MACHINE = MachineSettings(device="cpu", slots=4)


def _train(engine: Engine, jobs: list[RunJob]) -> dict[str, RunRecord]:
    with warnings.catch_warnings():
        warnings.simplefilter("error", TrainedAloneWarning)
        return {r.config.name: r for r in engine.train(jobs, lambda _: "continue")}


def _losses(record: RunRecord) -> list[float]:
    assert record.status == "finished", record.message
    return [point.loss for point in record.train_points]


def _quantized_layers(engine: AutoEngine) -> dict[str, QuantizedLinear]:
    assert engine._packed._model is not None
    packed = engine._packed._model[1]
    assert not isinstance(packed, str)
    named = packed._model.named_modules()
    return {name: module for name, module in named if isinstance(module, QuantizedLinear)}


# int8 rounds what a layer is given when it scores: a last bit can move a whole step there.
@pytest.mark.parametrize(("quantization", "score_error"), [("nf4", 1e-3), ("int8", 3e-2)])
def test_each_run_trains_as_it_does_alone(
    job_of: Jobs, quantization: str, score_error: float
) -> None:
    held = {"quantization": quantization}
    jobs = [
        job_of("a", method="qlora", lora_dropout=0.0, target_modules="all", **held),
        job_of("b", method="lora", batch_size=3, lora_rank=16, epochs=1.5, seed=5, **held),
        job_of("c", method="rslora", target_modules="attention", seed=3, **held),
    ]
    if quantization == "nf4":  # PEFT's DoRA does not train on int8 on a CPU
        jobs.append(job_of("d", method="dora", lora_dropout=0.0, seed=9, **held))
    engine, alone = AutoEngine(_MACHINE), TrainerEngine(_MACHINE)
    packed = _train(engine, jobs)
    assert _quantized_layers(engine)
    for job in jobs:
        name = job.config.name
        expected = _train(alone, [job])[name]
        assert len(_losses(expected)) >= 12
        assert _losses(packed[name]) == pytest.approx(_losses(expected), rel=1e-4)
        for one, other in zip(packed[name].evaluations, expected.evaluations, strict=True):
            found = one.metrics["eval_loss"]
            assert found == pytest.approx(other.metrics["eval_loss"], rel=score_error)


def test_a_run_with_dropout_does_not_depend_on_its_company(job_of: Jobs) -> None:
    drops = {"drops": True, "lora_dropout": 0.2, "target_modules": "all"}
    mine = job_of("mine", method="qlora", **drops)
    other = job_of("other", method="dora", quantization="nf4", batch_size=2, seed=9, **drops)
    engine = AutoEngine(_MACHINE)
    alone = _train(engine, [mine])["mine"]
    shared = _train(engine, [other, mine])["mine"]
    assert _losses(shared) == pytest.approx(_losses(alone), rel=1e-4)


@pytest.mark.parametrize("method", ["qlora", "int8_lora"])
def test_no_run_copies_the_quantized_weights(job_of: Jobs, method: str) -> None:
    engine = AutoEngine(_MACHINE)
    job = job_of(method=method, target_modules="all")
    _train(engine, [job])
    assert engine._packed._model is not None
    base = engine._packed._model[0].model
    own = engine._warm.build_model(job.config).base_model.model
    for name, layer in _quantized_layers(engine).items():
        original = base.get_submodule(name)
        for other in (layer.frozen, own.get_submodule(name).base_layer):
            assert other.weight.data_ptr() == original.weight.data_ptr()
            for part in ("quant_state", "state"):
                assert getattr(other, part, None) is getattr(original, part, None)


def test_a_copy_computes_in_8_bits_whoever_computed_first(job_of: Jobs) -> None:
    """The first product moves an 8-bit layer's weight to its state."""
    engine = AutoEngine(_MACHINE)
    job = job_of(method="int8_lora")
    data, _ = engine._warm.data(job.config)
    kind, unit = data.kind, job.config.unit_config
    base = engine._warm.base(unit, kind.auto_class, kind.model_kwargs(unit.task)).model
    batch = {"input_ids": torch.tensor([[101, 2023, 102]])}
    first, second = (copy.deepcopy(base, share_weights(base)) for _ in range(2))
    with torch.no_grad():
        logits = [model(**batch).logits for model in (first, second, base)]
    torch.testing.assert_close(logits[0], logits[1])
    torch.testing.assert_close(logits[0], logits[2])


def test_8_bit_products_round_each_member_s_rows_by_themselves(job_of: Jobs) -> None:
    """An outlier takes its column out of the rounding of all rows that are multiplied with it."""
    engine = AutoEngine(_MACHINE)
    _train(engine, [job_of(method="int8_lora")])
    layer = next(iter(_quantized_layers(engine).values())).eval()
    torch.manual_seed(0)
    mine, wild = torch.randn(1, 4, 384), torch.randn(1, 6, 384)
    wild[:, :, 3] = 50.0
    members = [Member({}, {}, Stream(0, torch.device("cpu"))) for _ in range(2)]

    def compute(rows: torch.Tensor, *sizes: int) -> Any:
        mask = (torch.arange(max(sizes)) < torch.tensor(sizes).unsqueeze(1)).long()
        layout = build_layout([(members[i], 1) for i in range(len(sizes))], mask)
        with use_layout(layout):
            return layer(F.pad(rows, (0, 0, 0, layout.filler)))

    shared = compute(torch.cat([mine, wild], 1), 4, 6)
    assert torch.equal(shared[:, :4], compute(mine, 4)[:, :4])
    assert not torch.equal(layer.frozen(torch.cat([mine, wild], 1)[0])[:4], shared[0, :4])
