"""The ``packed`` engine: runs of one base model advance in lockstep; the rest train one by one."""

import warnings
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from time import perf_counter
from typing import Any

from phasewise.errors import ConfigError
from phasewise.methods.models import BaseModel
from phasewise.records import RunRecord
from phasewise.runs import UnitConfig
from phasewise.settings import MachineSettings
from phasewise.tasks.examples import EvalSet, Outputs
from phasewise.tasks.kinds import get_kind
from phasewise.training.batching import largest_micro_batch
from phasewise.training.choice import choose_engine
from phasewise.training.device import (
    BYTES_PER_MB,
    free_memory_bytes,
    is_out_of_memory,
    peak_memory_mb,
    release_memory,
    reset_peak_memory,
    used_memory_bytes,
)
from phasewise.training.failures import describe_failure, explain_failure
from phasewise.training.interface import Feed, Reporter, RunJob
from phasewise.training.kernels.library import use_kernels
from phasewise.training.packed.forward import RunStep, compute_steps, take_pass
from phasewise.training.packed.layout import CannotPackError
from phasewise.training.packed.model import PackedModel
from phasewise.training.packed.queue import JobQueue, pack_key
from phasewise.training.packed.run import PackedRun
from phasewise.training.packed.scoring import PackScores
from phasewise.training.packed.settling import OUT_OF_MEMORY, has_left, settle_error, take_step
from phasewise.training.packed.slots import MemoryUse, SlotMeter
from phasewise.training.responses import add_texts
from phasewise.training.trainer_engine import Attempt, TrainerEngine


class UnpackedRunWarning(UserWarning):
    """A run trains alone, through the ``trainer`` engine; the message says why."""


class PackedEngine(TrainerEngine):
    """Trains many runs at once over one base model; a run's numbers are its own.

    Args:
        machine: Which device, how many CPU threads, and how many runs train together.
    """

    def __init__(self, machine: MachineSettings) -> None:
        super().__init__(machine)
        use_kernels(machine.kernels)
        self._slots = machine.slots
        self._meter = SlotMeter(self._slots, self._measure_memory)
        self._packs = False  # whether what trains now is a pack
        self._held: tuple[BaseModel, PackedModel | str] | None = None  # or why it cannot be packed
        self._scores = PackScores(self._device)
        self._memory_before = 0.0

    @property
    def room(self) -> int:
        """Runs that train at the same time; see ``interface.Engine``."""
        return self._meter.room if self._packs else 1

    def train(self, jobs: Feed, report: Reporter) -> Iterator[RunRecord]:
        """Yields the record of each run as it ends; see ``interface.Engine``."""
        queue = JobQueue(jobs)
        while (job := queue.take()) is not None:
            self._packs = False
            try:
                packed = self._hold_model(job.config.unit_config)
            except CannotPackError as error:
                yield self._train_unpackable(job, report, str(error))
            except Exception as error:
                yield describe_failure(job, error, datetime.now(UTC))
            else:
                yield from self._train_pack(packed, job, queue, report)

    def _hold_model(self, unit: UnitConfig) -> PackedModel:
        """Returns the pack's model, made once for a base model.

        Raises:
            CannotPackError: The settings or the model do not allow it.
        """
        choice = choose_engine(unit.task, unit.method, unit.training)
        if choice.obstacle:
            raise CannotPackError(choice.obstacle)
        kind = get_kind(unit.task)
        base = self._warm.base(unit, kind.auto_class, kind.model_kwargs(unit.task))
        if self._held is None or self._held[0] is not base:
            self._held = None
            self._held = (base, _pack_model(base))
            self._meter = SlotMeter(self._slots, self._measure_memory)
        packed = self._held[1]
        if isinstance(packed, str):
            raise CannotPackError(packed)
        return packed

    def _measure_memory(self) -> MemoryUse:
        peak = peak_memory_mb(self._device) * BYTES_PER_MB
        return MemoryUse(peak - self._memory_before, free_memory_bytes(self._device))

    def _train_unpackable(self, job: RunJob, report: Reporter, reason: str) -> RunRecord:
        """Trains a run alone; refuses if the study asks for the packed engine by name."""
        engine = job.config.unit_config.training.engine
        if engine == "trainer":
            return self._train_run(job, report)
        if engine == "packed":
            error = ConfigError(
                f"{job.config.label}: training.engine is packed, but {reason}; use auto or trainer"
            )
            return describe_failure(job, error, datetime.now(UTC))
        return self._train_alone(job, report, reason)

    def _train_alone(
        self, job: RunJob, report: Reporter, reason: str, reported_until: int = 0
    ) -> RunRecord:
        message = f"{job.config.label}: trains alone ({reason})"
        warnings.warn(message, UnpackedRunWarning, stacklevel=3)
        return self._train_run(job, report, reported_until, reason)

    def _train_pack(
        self, packed: PackedModel, first: RunJob, queue: JobQueue, report: Reporter
    ) -> Iterator[RunRecord]:
        """Keeps every slot busy until no run of this pack is left."""
        key = pack_key(first.config.unit_config)
        self._packs = True
        reset_peak_memory(self._device)
        self._memory_before = used_memory_bytes(self._device)
        active: list[PackedRun] = []
        alone: list[tuple[RunJob, str, int]] = []  # once the pack is done
        job: RunJob | None = first
        while job is not None or active:
            while job is not None:
                try:
                    active.append(self._start(job, packed, report))
                except CannotPackError as error:
                    alone.append((job, str(error), 0))
                except Exception as error:
                    yield describe_failure(job, error, datetime.now(UTC))
                job = queue.take_like(key) if len(active) < self.room else None
            self._advance(packed, active)
            self._evaluate([run for run in active if run.is_due])
            for run in [run for run in active if run.is_ended]:
                active.remove(run)
                if run.leaves:
                    alone.append((run.job, run.leaves, run.watch.reported_until))
                    self._drop(run)
                else:
                    yield self._end(run)
            job = queue.take_like(key) if len(active) < self.room else None
        for left, reason, reported_until in alone:
            yield self._train_alone(left, report, reason, reported_until)

    def _start(self, job: RunJob, packed: PackedModel, report: Reporter) -> PackedRun:
        """Gives a run its slot.

        Raises:
            CannotPackError: The run needs what the pack does not do.
        """
        clock, hyperparameters = perf_counter(), job.config.hyperparameters
        limit = hyperparameters.rows_at_once(job.config.unit_config.training.micro_batch_size)
        attempt = Attempt(largest_micro_batch(hyperparameters.batch_size, limit))
        try:
            self._prepare(job, report, attempt, 0)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise CannotPackError(OUT_OF_MEMORY) from error
        data, _ = self._warm.data(job.config)
        run = PackedRun(job, attempt, packed, data.train)
        self._scores.add(attempt.model, packed, run.member)
        run.own_seconds = perf_counter() - clock
        return run

    def _advance(self, packed: PackedModel, runs: Sequence[PackedRun]) -> None:
        """Brings each run one micro-batch on, in as many passes as memory and caches ask for."""
        waiting, clock, tokens, size = list(runs), perf_counter(), 0, self.room
        while waiting:
            started = perf_counter()
            group = take_pass(waiting[:size], packed.most_tokens(waiting[0].member))
            try:
                steps = self._compute(packed, group)
            except Exception as error:
                size = self._make_way(group, error)
                waiting = [run for run in waiting if not has_left(run)]
                continue
            seconds, passed = perf_counter() - started, sum(step.tokens for step in steps)
            for run, step in zip(group, steps, strict=True):
                take_step(run, step, seconds * step.tokens / passed)
            tokens += passed
            waiting = waiting[len(group) :]
        self._meter.note(len(runs), tokens, perf_counter() - clock)

    def _compute(self, packed: PackedModel, group: Sequence[PackedRun]) -> list[RunStep]:
        job = group[0].job
        collate = self._warm.collator(job.config.unit_config)
        return compute_steps(packed, group, collate, self._device, self._context_of(job))

    def _make_way(self, group: Sequence[PackedRun], error: Exception) -> int:
        """Returns how many runs to try in a pass after one has raised; no run has moved.

        Memory that ran out halves the pass for good. Another error is some run's own: they are
        tried one by one, so that it costs no other.
        """
        if len(group) == 1:
            settle_error(group[0], error)
        if not is_out_of_memory(error):
            return 1
        release_memory(self._device)
        self._meter.limit(len(group) // 2)
        return self.room

    def _evaluate(self, runs: Sequence[PackedRun]) -> None:
        """Scores the runs that are due, their forward passes together."""
        clock = perf_counter()
        try:
            self._predict_ahead(runs)
        except Exception:  # whose it is shows below, where each run without logits is asked alone
            release_memory(self._device)
        share = (perf_counter() - clock) / max(1, len(runs))
        for run in runs:
            clock = perf_counter()
            try:
                run.evaluate()
            except Exception as error:
                settle_error(run, error)
            seconds = share + perf_counter() - clock
            run.own_seconds += seconds
            run.attempt.train_seconds += seconds

    def _predict_ahead(self, runs: Sequence[PackedRun]) -> None:
        """Computes the logits that the runs' watches will ask for."""
        asked = []
        for run in runs:
            data, train_eval = self._warm.data(run.job.config)
            sets = [data.search, train_eval] if run.is_at_end else [data.search]
            asked += [(run.attempt.model, eval_set.features) for eval_set in sets]
        if asked:
            job = runs[0].job
            collate = self._warm.collator(job.config.unit_config)
            self._scores.prepare(asked, collate, self._context_of(job))

    def _predict(self, job: RunJob, eval_set: EvalSet, model: Any, *, writes: bool) -> Outputs:
        if not self._scores.knows(model):
            return super()._predict(job, eval_set, model, writes=writes)
        unit, context = job.config.unit_config, self._context_of(job)
        collate = self._warm.collator(unit)
        found = self._scores.predict(model, eval_set.features, collate, context)
        if unit.task.kind != "instruction":
            return found
        return add_texts(
            found,
            model,
            eval_set.features,
            self._warm.tokenizer(unit),
            unit.task,
            writes=writes,
            batch_size=unit.training.evaluation_batch_size,
            device=self._device,
            context=context,
        )

    def _end(self, run: PackedRun) -> RunRecord:
        """Returns a run's record, after its last scores, and frees what it held."""
        clock = perf_counter()
        if run.attempt.status == "finished":
            try:
                self._finish(run.job, run.attempt)
            except Exception as error:
                run.attempt.status = "failed"
                run.attempt.message = explain_failure(run.job, error)
        seconds = run.own_seconds + perf_counter() - clock
        record = self._describe(run.job, run.attempt, run.started, seconds, {"engine": "packed"})
        self._drop(run)
        return record

    def _drop(self, run: PackedRun) -> None:
        self._scores.drop(run.attempt.model)
        run.watch.trainer = None  # ends the cycle, so that the model is freed at once
        run.attempt.model = None
        run.parameters.clear()
        if self._device.type == "cuda":
            release_memory(self._device)


def _pack_model(base: BaseModel) -> PackedModel | str:
    """Returns the pack's model, or why there can be none: asked once for a base, not each run."""
    try:
        return PackedModel(base)
    except CannotPackError as error:
        return str(error)
