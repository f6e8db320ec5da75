"""Packed runs against the same runs alone through transformers' Trainer and PEFT."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForSequenceClassification

from phasewise.records import RunRecord
from phasewise.settings import MachineSettings
from phasewise.tasks.ledger import read_ledger
from phasewise.tasks.predictions import read_predictions
from phasewise.training import training_run
from phasewise.training.auto_engine import AutoEngine, TrainedAloneWarning
from phasewise.training.interface import (
    UNPACKED_KEY,
    ControllerGoneError,
    Decision,
    Engine,
    Progress,
    RunJob,
)
from phasewise.training.packed import forward, fused_encoder, lockstep
from phasewise.training.packed.engine import PackedEngine
from phasewise.training.packed.forward import RunStep
from phasewise.training.packed.model import PackedModel
from phasewise.training.packed.run import PackedRun
from phasewise.training.trainer_engine import TrainerEngine
from phasewise.training.warm import WarmParts

Jobs = Callable[..., RunJob]
_MACHINE = MachineSettings(device="cpu", slots=8)
_TWO_SLOTS = MachineSettings(device="cpu", slots=2)


def _train(
    engine: Engine, jobs: list[RunJob], prune: str = ""
) -> tuple[dict[str, RunRecord], list[Progress]]:
    """Returns records by name and all that was reported; the run ``prune`` is pruned at once."""
    seen: list[Progress] = []

    def report(progress: Progress) -> Decision:
        seen.append(progress)
        return "prune" if progress.run == prune else "continue"

    records = {record.config.name: record for record in engine.train(jobs, report)}
    assert len(records) == len(jobs)
    return records, seen


def _losses(record: RunRecord) -> list[float]:
    return [point.loss for point in record.train_points]


def _check_same(packed: RunRecord, alone: RunRecord) -> None:
    assert packed.status == alone.status == "finished"
    assert len(_losses(alone)) >= 12
    assert _losses(packed) == pytest.approx(_losses(alone), rel=1e-4)
    rates = [[p.learning_rate for p in record.train_points] for record in (packed, alone)]
    assert rates[0] == pytest.approx(rates[1])
    steps = [[(e.step, e.epoch) for e in record.evaluations] for record in (packed, alone)]
    assert steps[0] == steps[1]
    assert packed.search_metrics["accuracy"] == alone.search_metrics["accuracy"]
    for one, other in zip(packed.evaluations, alone.evaluations, strict=True):
        assert one.metrics["eval_loss"] == pytest.approx(other.metrics["eval_loss"], rel=1e-3)
    assert packed.cost is not None
    assert alone.cost is not None
    assert packed.cost.train_tokens == alone.cost.train_tokens
    assert packed.cost.micro_batch_size == alone.cost.micro_batch_size
    assert packed.cost.trainable_parameters == alone.cost.trainable_parameters


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize(
    ("targets", "compiled"), [("query_value", True), ("all", True), ("all", False)]
)
def test_each_run_trains_as_it_does_alone(job_of: Jobs, targets: str, compiled: bool) -> None:
    jobs = [
        job_of("a", target_modules=targets, lora_rank=4, batch_size=5),
        job_of("b", target_modules=targets, lora_rank=16, batch_size=2, seed=5, epochs=1),
        job_of("c", method="rslora", target_modules=targets, batch_size=4, epochs=1.6, seed=7),
        job_of("d", method="loraplus", target_modules=targets, warmup_ratio=0.2, seed=9),
        job_of("e", method="dora", target_modules=targets, lora_alpha=32, seed=11),
        job_of("f", target_modules="attention", lr_scheduler_type="cosine", weight_decay=0.1),
        job_of("h", target_modules=targets, lr_scheduler_type="constant", warmup_ratio=0.5),
        job_of("g", method="frozen_probe", learning_rate=1e-2),
    ]
    machine = _MACHINE.model_copy(update={"kernels": compiled})
    packed, _ = _train(AutoEngine(machine), jobs)
    alone = TrainerEngine(_MACHINE)
    for job in jobs:
        _check_same(packed[job.config.name], _train(alone, [job])[0][job.config.name])


@pytest.mark.parametrize(
    "order", [{"sampling": "balanced"}, {"training": {"group_by_length": True}}]
)
def test_other_orders_of_rows_are_those_of_a_run_alone(job_of: Jobs, order: dict[str, Any]) -> None:
    jobs = [job_of(name, **order) for name in "ab"]
    packed, _ = _train(AutoEngine(_MACHINE), jobs)
    alone, _ = _train(TrainerEngine(_MACHINE), [jobs[0]])
    _check_same(packed["a"], alone["a"])
    shuffled, _ = _train(AutoEngine(_MACHINE), [job_of("a")])
    assert shuffled["a"].train_points != packed["a"].train_points


def test_class_weights_are_those_of_a_run_alone(
    job_of: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, _ = _train(AutoEngine(_MACHINE), [job_of("a")])
    monkeypatch.setattr(training_run, "weigh_classes", lambda rows, chosen: {0: 0.4, 1: 1.6})
    jobs = [job_of("a"), job_of("b", training={"micro_batch_size": 2}, batch_size=4)]
    packed, _ = _train(AutoEngine(_MACHINE), jobs)
    for job in jobs:
        _check_same(
            packed[job.config.name],
            _train(TrainerEngine(_MACHINE), [job])[0][job.config.name],
        )
    assert packed["a"].train_points != plain["a"].train_points


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("targets", ["all", "query_value"])
def test_accumulated_micro_batches_make_the_same_steps(job_of: Jobs, targets: str) -> None:
    settings = {
        "training": {"micro_batch_size": 2, "evaluations_per_epoch": 2},
        "target_modules": targets,
    }
    jobs = [
        job_of("a", **settings, batch_size=4, epochs=2),
        job_of("b", **settings, batch_size=8, epochs=3, seed=5),
    ]
    packed, seen = _train(AutoEngine(_MACHINE), jobs)
    for job in jobs:
        record, expected = _train(TrainerEngine(_MACHINE), [job])
        name = job.config.name
        _check_same(packed[name], record[name])
        own = [p for p in seen if p.run == name]
        steps = [[(p.evaluation.step, p.is_last) for p in each] for each in (own, expected)]
        assert steps[0] == steps[1]


@pytest.mark.usefixtures("kernels")
def test_passes_by_hand_are_cut_and_change_no_number(
    job_of: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = list[int]()
    compute = forward.compute_steps

    def note(packed: PackedModel, runs: Sequence[PackedRun], *rest: Any) -> list[RunStep]:
        steps = compute(packed, runs, *rest)
        sizes.append(sum(step.tokens for step in steps))
        return steps

    monkeypatch.setattr("phasewise.training.packed.lockstep.compute_steps", note)
    monkeypatch.setattr(fused_encoder, "are_products_fast", lambda dtype: True)
    jobs = [
        job_of(name, seed=seed, drops=True, target_modules="query_value")
        for name, seed in (("a", 1), ("b", 5), ("c", 9))
    ]
    found, most = [], []
    for tokens in (1, 150, 10_000):
        monkeypatch.setattr(fused_encoder.FusedEncoder, "most_tokens", tokens)
        sizes.clear()
        found.append(_train(AutoEngine(_MACHINE), jobs)[0])
        most.append((max(sizes), len(sizes)))
    assert most[1][0] <= 150 < most[2][0]
    assert most[0][1] == 3 * most[2][1]
    for records in found[:2]:
        for name, record in found[2].items():
            assert _losses(records[name]) == pytest.approx(_losses(record), rel=1e-4)


def test_a_run_does_not_depend_on_who_shares_its_pack(job_of: Jobs) -> None:
    """Dropouts of base, adapter and head on: their stream is the run's own."""
    mine = job_of("mine", drops=True, lora_dropout=0.2, epochs=2)
    others = [
        job_of("x", drops=True, batch_size=1, lora_rank=2, lora_dropout=0.5, seed=20),
        job_of("y", drops=True, method="dora", batch_size=7, lora_dropout=0.1, seed=30),
    ]
    alone, _ = _train(AutoEngine(_MACHINE), [mine])
    shared, _ = _train(AutoEngine(_MACHINE), [*others, mine])
    narrow, _ = _train(AutoEngine(_TWO_SLOTS), [mine, *others])
    assert _losses(shared["mine"]) == pytest.approx(_losses(alone["mine"]), rel=1e-4)
    assert _losses(narrow["mine"]) == pytest.approx(_losses(alone["mine"]), rel=1e-4)
    still, _ = _train(AutoEngine(_MACHINE), [job_of("mine", lora_dropout=0.0)])
    assert _losses(still["mine"]) != pytest.approx(_losses(alone["mine"]), rel=1e-2)


def _note_passes(monkeypatch: pytest.MonkeyPatch) -> list[set[str]]:
    """Returns whose rows each pass holds, to be filled."""
    passes, compute = list[set[str]](), lockstep.compute_pass

    def note(packed: PackedModel, group: Sequence[PackedRun], warm: WarmParts) -> list[RunStep]:
        passes.append({run.job.config.name for run in group})
        return compute(packed, group, warm)

    monkeypatch.setattr(lockstep, "compute_pass", note)
    return passes


def test_a_pruned_run_frees_its_slot_and_changes_nobody(
    job_of: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [job_of(name, drops=True, seed=seed) for name, seed in [("a", 1), ("b", 9), ("c", 17)]]
    free, _ = _train(AutoEngine(_TWO_SLOTS), jobs)
    passes = _note_passes(monkeypatch)
    pruned, _ = _train(AutoEngine(_TWO_SLOTS), jobs, prune="a")
    assert pruned["a"].status == "pruned"
    assert pruned["a"].message == "stopped by the pruner after step 6"
    for name in ("b", "c"):
        assert pruned[name].status == "finished"
        assert _losses(pruned[name]) == pytest.approx(_losses(free[name]), rel=1e-4)
    assert {"b", "c"} in passes


def test_a_run_that_diverges_harms_nobody(job_of: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real NaNs flow through the layers that all runs share."""
    join = PackedEngine._join

    def poison(self: PackedEngine, job: RunJob, *rest: Any) -> PackedRun:
        run = join(self, job, *rest)
        if job.config.name == "bad":
            next(iter(run.member.layers.values())).down.data.fill_(float("nan"))
        return run

    monkeypatch.setattr(PackedEngine, "_join", poison)
    jobs = [job_of("good"), job_of("bad", seed=4), job_of("next", seed=6)]
    records, _ = _train(AutoEngine(_MACHINE), jobs)
    assert records["bad"].status == "diverged"
    assert records["bad"].message == "the training loss became nan at step 1"
    for job in (jobs[0], jobs[2]):
        name = job.config.name
        _check_same(records[name], _train(TrainerEngine(_MACHINE), [job])[0][name])


def test_products_in_bfloat16_are_packed_too(job_of: Jobs) -> None:
    """Eight bits of mantissa: the losses agree as far as those go."""
    jobs = [
        job_of("a", dtype="bfloat16", target_modules="all"),
        job_of("b", dtype="bfloat16", method="dora", lora_dropout=0.1, seed=5),
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error", TrainedAloneWarning)
        packed, _ = _train(AutoEngine(_MACHINE), jobs)
    alone, _ = _train(TrainerEngine(_MACHINE), jobs)
    assert _losses(packed["a"]) == pytest.approx(_losses(alone["a"]), rel=3e-2)
    assert packed["b"].status == "finished"


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("family", ["llama", "roberta", "distilbert"])
def test_other_families_train_as_they_do_alone(
    job_of: Jobs, family: str, build_family: Callable[[str], str]
) -> None:
    """Rotary angles and grouped heads; a head of several layers; blocks called their own way."""
    source = build_family(family)
    jobs = [
        job_of("a", source=source, target_modules="all", batch_size=3, epochs=1.5),
        job_of("b", source=source, target_modules="query_value", method="dora", seed=5),
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error", TrainedAloneWarning)
        packed, _ = _train(AutoEngine(_MACHINE), jobs)
    for job in jobs:
        name = job.config.name
        _check_same(packed[name], _train(TrainerEngine(_MACHINE), [job])[0][name])


def test_a_family_that_cannot_be_packed_trains_alone(
    job_of: Jobs, build_family: Callable[[str], str]
) -> None:
    with pytest.warns(TrainedAloneWarning, match="trains alone"):
        records, _ = _train(AutoEngine(_MACHINE), [job_of(source=build_family("deberta-v2"))])
    assert records["run"].status == "finished"


@pytest.mark.parametrize("method", ["lora", "dora"])
def test_the_saved_adapter_is_an_ordinary_one(job_of: Jobs, method: str) -> None:
    keep = {"opens_report_set": True, "keeps_model": True, "drops": True}
    jobs = [job_of("a", method=method, **keep), job_of("b", seed=8, **keep)]
    engine = AutoEngine(_MACHINE)
    records, _ = _train(engine, jobs)
    assert sorted(row["run"] for row in read_ledger(jobs[0].ledger)) == sorted(
        job.config.label for job in jobs
    )
    for job in jobs:
        unit = job.config.unit_config
        path = job.folder / "model"
        data, _ = engine._warm.data(job.config)
        base = engine._warm.base(unit, data.kind.auto_class, data.kind.model_kwargs(unit.task))
        fresh = AutoModelForSequenceClassification.from_config(base.model.config)
        known = {n: t for n, t in base.model.state_dict().items() if "classifier" not in n}
        fresh.load_state_dict(known, strict=False)
        model = PeftModel.from_pretrained(fresh, str(path)).eval()
        outputs = engine._warm.predict(job.config, data.search, model, False)
        scored = data.kind.score(unit.task, data.search, outputs, None)
        last = records[job.config.name].evaluations[-1].metrics
        assert scored.metrics["eval_loss"] == pytest.approx(last["eval_loss"], rel=1e-5)
        rows = read_predictions(job.folder / "predictions.jsonl")
        assert np.mean([row.correct for row in rows]) == pytest.approx(
            records[job.config.name].report_metrics["accuracy"]
        )


def _cramp(monkeypatch: pytest.MonkeyPatch, fits: Callable[[list[str]], bool]) -> list[int]:
    """Lets memory run out, after dropouts were drawn, unless the runs of a pass fit."""
    compute, sizes = forward._compute, list[int]()

    def cramped(packed: Any, runs: list[PackedRun], *rest: Any) -> Any:
        sizes.append(len(runs))
        steps = compute(packed, runs, *rest)
        if not fits([run.job.config.name for run in runs]):
            raise torch.OutOfMemoryError("made up")
        return steps

    monkeypatch.setattr(forward, "_compute", cramped)
    return sizes


def test_runs_that_do_not_fit_together_take_turns(
    job_of: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [job_of(name, drops=True, seed=seed) for name, seed in [("a", 1), ("b", 9), ("c", 17)]]
    expected, _ = _train(AutoEngine(_MACHINE), jobs)
    monkeypatch.setattr(PackedModel, "most_tokens", lambda *_: None)
    sizes = _cramp(monkeypatch, lambda names: len(names) == 1)
    records, _ = _train(AutoEngine(_MACHINE), jobs)
    assert sizes == [3, *[1] * (len(sizes) - 1)]
    for name, record in records.items():
        assert _losses(record) == pytest.approx(_losses(expected[name]), rel=1e-4)


def test_a_run_too_large_for_the_pack_trains_alone_and_reports_once(
    job_of: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It fails after its first evaluation; the pruner must not hear of that one twice."""
    jobs = [job_of("a"), job_of("big", seed=9)]
    counts = {"big": 0}

    def fits(names: list[str]) -> bool:
        counts["big"] += "big" in names
        return counts["big"] < 9 or "big" not in names

    _cramp(monkeypatch, fits)
    with pytest.warns(TrainedAloneWarning, match=r"big: trains alone \(out of memory\)"):
        records, seen = _train(AutoEngine(_MACHINE), jobs)
    for job in jobs:
        _check_same(
            records[job.config.name],
            _train(TrainerEngine(_MACHINE), [job])[0][job.config.name],
        )
    reported = [p.evaluation.step for p in seen if p.run == "big"]
    assert reported == [6, 12]


def test_what_cannot_be_packed_trains_alone_and_says_why(job_of: Jobs) -> None:
    jobs = [job_of("a"), job_of("full", method="full_finetune", learning_rate=1e-4)]
    with pytest.warns(TrainedAloneWarning, match="full: trains alone .every weight trains"):
        records, _ = _train(AutoEngine(_MACHINE), jobs)
    assert {record.status for record in records.values()} == {"finished"}


def test_an_error_in_a_shared_pass_ends_the_run_that_made_it(
    job_of: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others, whose dropouts were drawn already, go on as if nothing had been."""
    jobs = [job_of(name, drops=True, seed=seed) for name, seed in [("a", 1), ("bad", 9), ("c", 17)]]
    expected, _ = _train(AutoEngine(_MACHINE), jobs)
    compute = forward._compute

    def broken(packed: Any, runs: list[PackedRun], *rest: Any) -> Any:
        steps = compute(packed, runs, *rest)
        if "bad" in [run.job.config.name for run in runs]:
            raise ValueError("a bad run")
        return steps

    monkeypatch.setattr(forward, "_compute", broken)
    records, _ = _train(AutoEngine(_MACHINE), jobs)
    path = jobs[1].folder / "error.txt"
    assert records["bad"].status == "failed"
    assert records["bad"].message == f"ValueError: a bad run (traceback: {path})"
    for name in ("a", "c"):
        assert _losses(records[name]) == pytest.approx(_losses(expected[name]), rel=1e-4)


def test_runs_of_a_feed_join_a_pack_that_trains(job_of: Jobs) -> None:
    """The feed has nothing at first, then a run of another unit, then one of this."""
    engine = AutoEngine(_TWO_SLOTS)
    ended: list[str] = []
    slots: list[int] = []

    def feed() -> Iterator[RunJob | None]:
        slots.append(engine.slots)
        yield job_of("long", epochs=4)
        slots.append(engine.slots)
        yield from (None, None, job_of("other", method="full_finetune"), job_of("short", epochs=1))
        while len(ended) < 2:  # both of the pack; `other` waits until no run is under way
            yield None

    records = {}
    for record in engine.train(feed(), lambda _: "continue"):
        ended.append(record.config.name)
        records[record.config.name] = record
    assert ended == ["short", "long", "other"]
    assert slots == [1, 2]
    engines = {name: record.environment["engine"] for name, record in records.items()}
    assert engines == {"short": "packed", "long": "packed", "other": "trainer"}
    assert "every weight trains" in records["other"].environment[UNPACKED_KEY]


def test_the_packed_engine_asked_for_by_name_refuses_what_it_cannot_pack(job_of: Jobs) -> None:
    job = job_of(method="full_finetune", training={"engine": "packed"})
    records, _ = _train(AutoEngine(_MACHINE), [job])
    assert records["run"].status == "failed"
    assert "training.engine is packed, but every weight trains" in records["run"].message


def test_a_report_that_raises_reaches_the_caller(job_of: Jobs) -> None:
    def report(progress: Progress) -> Decision:
        raise ControllerGoneError

    with pytest.raises(ControllerGoneError):
        list(AutoEngine(_MACHINE).train([job_of()], report))
