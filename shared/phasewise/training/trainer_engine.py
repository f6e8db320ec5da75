"""The ``trainer`` engine: one run after another through transformers' Trainer."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from time import perf_counter
from typing import Any

import torch

from phasewise.errors import InfeasibleRunError
from phasewise.methods.adapt import ModelSize, build_optimizer, measure_weights, save_model
from phasewise.methods.templates import AdapterTemplates
from phasewise.provenance import describe_environment
from phasewise.records import RunCost, RunRecord, RunStatus
from phasewise.settings import MachineSettings
from phasewise.tasks.data import TaskData, open_report_data
from phasewise.tasks.examples import EvalSet, Outputs, Scored
from phasewise.tasks.instruction import writes_for_search
from phasewise.tasks.predictions import PREDICTIONS_FILE, write_predictions
from phasewise.training.batching import find_evaluation_steps, largest_micro_batch
from phasewise.training.device import (
    autocast,
    choose_device,
    choose_precision,
    describe_device,
    describe_memory_error,
    is_out_of_memory,
    peak_memory_mb,
    release_memory,
    reset_peak_memory,
    seed_draws,
)
from phasewise.training.failures import describe_failure
from phasewise.training.interface import UNPACKED_KEY, Feed, Reporter, RunJob
from phasewise.training.responses import run_eval_set
from phasewise.training.run_watch import RunWatch
from phasewise.training.warm import WarmParts

#: Files in a run's folder, beside the record.
MODEL_FOLDER = "model"


@dataclass
class Attempt:
    """A run under way; filled step by step, so that a failed one tells how far it came."""

    micro_batch_size: int
    watch: RunWatch | None = None
    model: Any = None
    size: ModelSize | None = None
    train_tokens: int = 0
    train_seconds: float = 0.0
    status: RunStatus = "finished"
    message: str = ""
    report: Scored | None = None


class TrainerEngine:
    """Trains runs one by one on one device; base model and data stay warm between them.

    Args:
        machine: Which device, and how many CPU threads.
    """

    def __init__(self, machine: MachineSettings) -> None:
        torch.set_num_threads(machine.threads)
        self._device = choose_device(machine)
        self._warm = WarmParts(self._device)
        self._templates = AdapterTemplates()

    @property
    def room(self) -> int:
        """One run at a time."""
        return 1

    def train(self, jobs: Feed, report: Reporter) -> Iterator[RunRecord]:
        """Yields the record of each run as it ends; see ``interface.Engine``."""
        for job in jobs:
            if job is not None:
                yield self._train_run(job, report)

    def _train_run(
        self, job: RunJob, report: Reporter, reported_until: int = 0, reason: str = ""
    ) -> RunRecord:
        """Returns the record of a run that trains alone; ``reason`` says why it does."""
        started, clock = datetime.now(UTC), perf_counter()
        reset_peak_memory(self._device)
        try:
            attempt = self._train_fitting(job, report, reported_until)
            if attempt.status == "finished":
                self._finish(job, attempt)
            seconds = perf_counter() - clock
            record = self._describe(job, attempt, started, seconds, {"engine": "trainer"})
            attempt.model = None
        except Exception as error:
            record = describe_failure(job, error, started)
        release_memory(self._device)
        if not reason:
            return record
        environment = {**record.environment, UNPACKED_KEY: reason}
        return record.model_copy(update={"environment": environment})

    def _train_fitting(self, job: RunJob, report: Reporter, reported_until: int) -> Attempt:
        """Trains with ever smaller micro-batches until memory suffices; the batch stays."""
        hyperparameters, training = job.config.hyperparameters, job.config.unit_config.training
        limit = hyperparameters.rows_at_once(training.micro_batch_size)
        while True:
            attempt = Attempt(largest_micro_batch(hyperparameters.batch_size, limit))
            try:
                self._train_once(job, report, attempt, reported_until)
            except InfeasibleRunError as error:
                attempt.status, attempt.message = "diverged", str(error)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                attempt.status, attempt.message = "infeasible", describe_memory_error(error)
            if attempt.status != "infeasible" or attempt.micro_batch_size == 1:
                return attempt
            reported_until = attempt.watch.reported_until if attempt.watch else reported_until
            limit = attempt.micro_batch_size // 2
            attempt.model = None
            release_memory(self._device)

    def _train_once(
        self, job: RunJob, report: Reporter, attempt: Attempt, reported_until: int
    ) -> None:
        from phasewise.training.run_trainer import build_trainer  # brings datasets and pandas

        unit = job.config.unit_config
        data, _ = self._warm.data(job.config)
        watch = self._prepare(job, report, attempt, reported_until)
        attempt.size = measure_weights(list(attempt.model.parameters()))
        trainer = build_trainer(
            job.config,
            job.folder,
            model=attempt.model,
            optimizer=build_optimizer(attempt.model, unit.method, job.config.hyperparameters),
            features=data.train,
            collate=self._warm.train_collator(job.config),
            micro_batch_size=attempt.micro_batch_size,
            device=self._device,
            context=self._context_of(job),
            callback=watch,
        )
        watch.trainer = trainer
        clock = perf_counter()
        try:
            trainer.train()
        finally:
            attempt.train_seconds = perf_counter() - clock
            attempt.train_tokens = trainer.train_tokens
            watch.trainer = None  # ends the cycle, so that the model is freed at once
        if watch.pruned:
            attempt.status = "pruned"
            attempt.message = f"stopped by the pruner after step {watch.evaluations[-1].step}"

    def _prepare(
        self, job: RunJob, report: Reporter, attempt: Attempt, reported_until: int
    ) -> RunWatch:
        """Fills in the attempt's model and watch."""
        config, training = job.config, job.config.unit_config.training
        data, train_eval = self._warm.data(config)
        writes = writes_for_search(config.unit_config.task)
        attempt.model = self._build_model(job, data)
        attempt.watch = RunWatch(
            run=config.name,
            steps=find_evaluation_steps(
                rows=len(data.train),
                batch_size=config.hyperparameters.batch_size,
                epochs=config.hyperparameters.epochs,
                per_epoch=training.evaluations_per_epoch,
            ),
            score_search=partial(self._score, job, data, data.search, writes=writes),
            score_train=partial(self._score, job, data, train_eval),
            report=report,
            reported_until=reported_until,
        )
        return attempt.watch

    def _build_model(self, job: RunJob, data: TaskData) -> Any:
        unit = job.config.unit_config
        kind = data.kind
        base = self._warm.base(unit, kind.auto_class, kind.model_kwargs(unit.task))
        seed_draws(job.config.seeds.init, self._device)
        model = self._templates.build(
            base, unit.method, job.config.hyperparameters, kind.auto_class
        )
        # All others lie where their base does.
        return model.to(self._device) if unit.method.traits.copies_base else model

    def _finish(self, job: RunJob, attempt: Attempt) -> None:
        """Opens the report set and saves the model, as the run's settings say."""
        assert attempt.watch is not None
        assert attempt.watch.last_scored is not None
        if job.config.opens_report_set:
            try:
                attempt.report = self._score_report(job, attempt)
            except InfeasibleRunError as error:
                attempt.status, attempt.message = "diverged", str(error)
                return
        if job.config.keeps_model:
            save_model(attempt.model, job.folder / MODEL_FOLDER)

    def _score_report(self, job: RunJob, attempt: Attempt) -> Scored:
        config = job.config
        data, _ = self._warm.data(config)
        report_set = open_report_data(
            config.unit_config,
            self._warm.tokenizer(config.unit_config),
            ledger=job.ledger,
            run_label=config.label,
            reason=f"final score of a {config.phase} run",
        )
        last = attempt.watch.last_scored if attempt.watch else None
        assert last is not None
        scored = self._score(job, data, report_set, attempt.model, last.threshold, writes=True)
        write_predictions(job.folder / PREDICTIONS_FILE, scored.predictions)
        return scored

    def _score(
        self,
        job: RunJob,
        data: TaskData,
        eval_set: EvalSet,
        model: Any,
        threshold: float | None = None,
        *,
        writes: bool = False,
    ) -> Scored:
        outputs = self._predict(job, eval_set, model, writes=writes)
        return data.kind.score(job.config.unit_config.task, eval_set, outputs, threshold)

    def _predict(self, job: RunJob, eval_set: EvalSet, model: Any, *, writes: bool) -> Outputs:
        unit = job.config.unit_config
        return run_eval_set(
            model,
            eval_set.features,
            self._warm.collator(unit),
            self._warm.tokenizer(unit),
            unit.task,
            writes=writes,
            batch_size=unit.training.evaluation_batch_size,
            device=self._device,
            context=self._context_of(job),
        )

    def _context_of(self, job: RunJob) -> Callable[[], Any]:
        unit = job.config.unit_config
        precision = choose_precision(unit.model, unit.method, self._device)
        return partial(autocast, self._device, precision)

    def _describe(
        self,
        job: RunJob,
        attempt: Attempt,
        started: datetime,
        seconds: float,
        engine: dict[str, str],
    ) -> RunRecord:
        watch, scored = attempt.watch, attempt.watch.last_scored if attempt.watch else None
        ended = attempt.status in ("finished", "pruned") and scored is not None
        report = attempt.report
        return RunRecord(
            config=job.config,
            hash=job.config.hash,
            status=attempt.status,
            message=attempt.message,
            evaluations=tuple(watch.evaluations) if watch else (),
            train_points=tuple(watch.train_points) if watch else (),
            search_metrics=scored.metrics if scored and ended else {},
            search_rows=len(scored.predictions) if scored and ended else 0,
            threshold=scored.threshold if scored and ended else None,
            report_metrics=report.metrics if report else {},
            report_rows=len(report.predictions) if report else 0,
            cost=self._measure_cost(attempt, seconds),
            environment={
                **describe_environment(),
                "device": describe_device(self._device),
                **engine,
            },
            started=started.isoformat(timespec="seconds"),
            ended=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    def _measure_cost(self, attempt: Attempt, seconds: float) -> RunCost | None:
        if attempt.size is None:
            return None
        return RunCost(
            train_seconds=attempt.train_seconds,
            total_seconds=seconds,
            peak_memory_mb=peak_memory_mb(self._device),
            train_tokens=attempt.train_tokens,
            trainable_parameters=attempt.size.trainable_parameters,
            total_parameters=attempt.size.total_parameters,
            adapter_bytes=attempt.size.trainable_bytes,
            micro_batch_size=attempt.micro_batch_size,
        )
