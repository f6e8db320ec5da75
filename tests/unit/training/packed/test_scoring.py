"""Logits of several runs at once against each run's own model, alone."""

from collections.abc import Callable
from contextlib import nullcontext

import numpy as np
import pytest
import torch

from phasewise.runs import RunConfig
from phasewise.settings import MachineSettings
from phasewise.training.auto_engine import AutoEngine
from phasewise.training.interface import RunJob
from phasewise.training.packed import scoring
from phasewise.training.packed.model import PackedModel
from phasewise.training.packed.scoring import Request, predict_together
from phasewise.training.prediction import predict

_CPU = torch.device("cpu")


def _model(engine: AutoEngine, job: RunJob) -> torch.nn.Module:
    config: RunConfig = job.config
    model: torch.nn.Module = engine._warm.build_model(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.05)  # zero at first, which would hide what the pair adds
    return model


@pytest.mark.parametrize("budget", [2048, 60, 1])
def test_each_run_gets_the_logits_of_its_own_model(
    job_of: Callable[..., RunJob], budget: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory runs out at 2 rows of 60 tokens at most; a row is never cut."""
    engine = AutoEngine(MachineSettings(device="cpu", slots=2))
    jobs = [job_of("a", drops=True, lora_dropout=0.3), job_of("b", drops=True, method="dora")]
    models = [_model(engine, job) for job in jobs]
    unit = jobs[0].config.unit_config
    packed = PackedModel(engine._warm.base(unit, *_head(engine, jobs[0])))
    members = [packed.join(model, seed=0) for model in models]
    data, train_eval = engine._warm.data(jobs[0].config)
    asked = [(0, data.search.features), (1, data.search.features), (1, train_eval.features)]
    monkeypatch.setitem(scoring._TOKENS, "cpu", budget)
    sizes, predict_rows = list[int](), scoring._predict_rows

    def cramped(packed: PackedModel, rows: list[object], *rest: object) -> object:
        sizes.append(len(rows))
        if budget == 60 and len(rows) > 2:
            raise MemoryError
        return predict_rows(packed, rows, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(scoring, "_predict_rows", cramped)
    collate = engine._warm.collator(unit)
    requests = [Request(members[number], features) for number, features in asked]
    found = predict_together(packed, requests, collate, device=_CPU, context=nullcontext)
    if budget == 1:
        assert set(sizes) == {1}
    for (number, features), logits in zip(asked, found, strict=True):
        model = models[number]
        alone = predict(model, features, collate, batch_size=8, device=_CPU, context=nullcontext)
        assert isinstance(alone, np.ndarray)
        assert logits.std() > 0
        np.testing.assert_allclose(logits, alone, atol=2e-5)


def _head(engine: AutoEngine, job: RunJob) -> tuple[str, dict[str, object]]:
    kind = engine._warm.data(job.config)[0].kind
    return kind.auto_class, kind.model_kwargs(job.config.unit_config.task)
