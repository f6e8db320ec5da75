"""Packed runs that train bias vectors against the same runs alone."""

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import nn

from phasewise.records import RunRecord
from phasewise.settings import MachineSettings
from phasewise.training.auto_engine import AutoEngine, TrainedAloneWarning
from phasewise.training.interface import Engine, RunJob
from phasewise.training.packed.biases import OwnBiases
from phasewise.training.packed.layout import CannotPackError
from phasewise.training.trainer_engine import TrainerEngine

Jobs = Callable[..., RunJob]
_MACHINE = MachineSettings(device="cpu", slots=3)


def _train(engine: Engine, jobs: list[RunJob]) -> dict[str, RunRecord]:
    with warnings.catch_warnings():
        warnings.simplefilter("error", TrainedAloneWarning)
        records = {r.config.name: r for r in engine.train(jobs, lambda _: "continue")}
    assert not [r.message for r in records.values() if r.status != "finished"]
    return records


def _losses(record: RunRecord) -> list[float]:
    return [point.loss for point in record.train_points]


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert"])
def test_each_run_trains_its_biases_as_it_does_alone(
    job_of: Jobs, build_family: Callable[[str], str], family: str
) -> None:
    """Others that train adapters have used the same pack before, and use it again afterwards."""
    source = "" if family == "bert" else build_family(family)
    jobs = [
        job_of("adapter", source=source, target_modules="all"),
        job_of("a", source=source, method="bitfit", learning_rate=1e-2),
        job_of("b", source=source, method="bitfit", batch_size=3, epochs=1.5, seed=5),
        job_of("again", source=source, target_modules="all", method="dora", seed=9),
        job_of("c", source=source, method="bitfit", learning_rate=1e-3, seed=3),
    ]
    packed = _train(AutoEngine(_MACHINE), jobs)
    alone = _train(TrainerEngine(_MACHINE), jobs)
    for name, expected in alone.items():
        assert len(_losses(expected)) >= 12
        assert _losses(packed[name]) == pytest.approx(_losses(expected), rel=1e-4)
        for one, other in zip(packed[name].evaluations, expected.evaluations, strict=True):
            found = one.metrics["eval_loss"]
            assert found == pytest.approx(other.metrics["eval_loss"], rel=1e-3)
    costs = [records["a"].cost for records in (packed, alone)]
    assert costs[0] is not None
    assert costs[1] is not None
    assert costs[0].trainable_parameters == costs[1].trainable_parameters


def test_a_module_that_does_not_add_its_bias_is_refused() -> None:
    model = nn.ModuleDict({"bilinear": nn.Bilinear(2, 2, 2), "linear": nn.Linear(2, 2)})
    with pytest.raises(CannotPackError, match="bilinear is a Bilinear"):
        OwnBiases().watch(model, ["linear", "bilinear"])


def test_the_base_keeps_its_biases(job_of: Jobs) -> None:
    engine = AutoEngine(_MACHINE)
    job = job_of(method="bitfit", learning_rate=1e-2)
    data, _ = engine._warm.data(job.config)
    kind, unit = data.kind, job.config.unit_config
    base = engine._warm.base(unit, kind.auto_class, kind.model_kwargs(unit.task)).model
    before = {name: tensor.clone() for name, tensor in base.state_dict().items()}
    _train(engine, [job])
    for name, tensor in base.state_dict().items():
        assert torch.equal(tensor, before[name]), name
