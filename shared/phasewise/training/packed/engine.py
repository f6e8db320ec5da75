"""The ``packed`` engine: runs of one base model advance in lockstep; the rest train one by one."""

import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from time import perf_counter

from phasewise.errors import InfeasibleRunError
from phasewise.methods.models import BaseModel
from phasewise.records import RunRecord
from phasewise.runs import UnitConfig
from phasewise.settings import MachineSettings
from phasewise.tasks.kinds import get_kind
from phasewise.training.batching import largest_micro_batch
from phasewise.training.device import is_out_of_memory, release_memory, reset_peak_memory
from phasewise.training.interface import Reporter, RunJob
from phasewise.training.packed.forward import RunStep, compute_steps
from phasewise.training.packed.layout import CannotPackError
from phasewise.training.packed.model import PackedModel
from phasewise.training.packed.run import PackedRun
from phasewise.training.trainer_engine import Attempt, TrainerEngine

#: Runs that advance together, unless memory allows fewer.
SLOTS = 8


class UnpackedRunWarning(UserWarning):
    """A run trains alone, through the ``trainer`` engine; the message says why."""


class PackedEngine(TrainerEngine):
    """Trains many runs at once over one base model; a run's numbers are its own.

    Args:
        machine: Which device, and how many CPU threads.
        slots: Runs that advance together.
    """

    def __init__(self, machine: MachineSettings, slots: int = SLOTS) -> None:
        super().__init__(machine)
        self._slots = slots
        self._together = slots  # runs in one forward pass; halved where memory runs out
        self._held: tuple[BaseModel, PackedModel] | None = None

    def train(self, jobs: Sequence[RunJob], report: Reporter) -> Iterator[RunRecord]:
        """Yields the record of each run as it ends; see ``interface.Engine``."""
        packs: dict[str, list[RunJob]] = {}
        for job in jobs:
            packs.setdefault(_pack_key(job.config.unit_config), []).append(job)
        for pack in packs.values():
            try:
                packed = self._hold_model(pack[0].config.unit_config)
            except CannotPackError as error:
                for job in pack:
                    yield self._train_alone(job, report, str(error))
            else:
                yield from self._train_pack(packed, pack, report)

    def _hold_model(self, unit: UnitConfig) -> PackedModel:
        """Returns the pack's model, made once for a base model."""
        obstacle = _find_obstacle(unit)
        if obstacle:
            raise CannotPackError(obstacle)
        kind = get_kind(unit.task)
        base = self._warm.base(unit, kind.auto_class, kind.model_kwargs(unit.task))
        if self._held is None or self._held[0] is not base:
            self._held = None
            self._held = (base, PackedModel(base))
        return self._held[1]

    def _train_alone(
        self, job: RunJob, report: Reporter, reason: str, reported_until: int = 0
    ) -> RunRecord:
        message = f"{job.config.label}: trains alone ({reason})"
        warnings.warn(message, UnpackedRunWarning, stacklevel=3)
        return self._train_run(job, report, reported_until)

    def _train_pack(
        self, packed: PackedModel, jobs: Sequence[RunJob], report: Reporter
    ) -> Iterator[RunRecord]:
        """Keeps every slot busy; the longest runs start first, so that they do not end last."""
        reset_peak_memory(self._device)
        self._together = self._slots
        waiting = deque(sorted(jobs, key=_work_of, reverse=True))
        active: list[PackedRun] = []
        left: list[tuple[RunJob, str, int]] = []  # to train alone, once the pack is done
        while waiting or active:
            while waiting and len(active) < self._slots:
                job = waiting.popleft()
                try:
                    active.append(self._start(job, packed, report))
                except CannotPackError as error:
                    left.append((job, str(error), 0))
            self._advance(packed, active)
            for run in [run for run in active if run.is_ended]:
                active.remove(run)
                if run.needs_room:
                    left.append((run.job, "out of memory", run.watch.reported_until))
                    self._drop(run)
                else:
                    yield self._end(run)
        for job, reason, reported_until in left:
            yield self._train_alone(job, report, reason, reported_until)

    def _start(self, job: RunJob, packed: PackedModel, report: Reporter) -> PackedRun:
        """Gives a run its slot.

        Raises:
            CannotPackError: The run needs what the pack does not do.
        """
        clock, hyperparameters = perf_counter(), job.config.hyperparameters
        limit = job.config.unit_config.training.micro_batch_size or hyperparameters.batch_size
        attempt = Attempt(largest_micro_batch(hyperparameters.batch_size, limit))
        try:
            self._prepare(job, report, attempt, 0)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise CannotPackError("out of memory") from error
        data, _ = self._warm.data(job.config)
        run = PackedRun(job, attempt, packed, data.train)
        run.own_seconds = perf_counter() - clock
        return run

    def _advance(self, packed: PackedModel, runs: Sequence[PackedRun]) -> None:
        """Brings each run one micro-batch on, in as many passes as memory asks for."""
        waiting = list(runs)
        while waiting:
            group = waiting[: self._together]
            clock = perf_counter()
            unit = group[0].job.config.unit_config
            try:
                steps = compute_steps(
                    packed,
                    group,
                    self._warm.collator(unit),
                    self._device,
                    self._context_of(group[0].job),
                )
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                group[0].needs_room = len(group) == 1
                self._together = max(1, len(group) // 2)
                waiting = [run for run in waiting if not run.needs_room]
                release_memory(self._device)
                continue
            seconds, tokens = perf_counter() - clock, sum(step.tokens for step in steps)
            for run, step in zip(group, steps, strict=True):
                _take(run, step, seconds * step.tokens / tokens)
            waiting = waiting[len(group) :]

    def _end(self, run: PackedRun) -> RunRecord:
        """Returns a run's record, after its last scores, and frees what it held."""
        clock = perf_counter()
        if run.attempt.status == "finished":
            self._finish(run.job, run.attempt)
        seconds = run.own_seconds + perf_counter() - clock
        record = self._describe(run.job, run.attempt, run.started, seconds)
        self._drop(run)
        return record

    def _drop(self, run: PackedRun) -> None:
        run.watch.trainer = None  # ends the cycle, so that the model is freed at once
        run.attempt.model = None
        run.parameters.clear()
        if self._device.type == "cuda":
            release_memory(self._device)


def _take(run: PackedRun, step: RunStep, share: float) -> None:
    """Hands a run its gradients and its share of the time; notes how it ends if it does."""
    clock = perf_counter()
    try:
        run.take(step.loss, step.grads, step.tokens)
    except InfeasibleRunError as error:
        run.attempt.status, run.attempt.message = "diverged", str(error)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        run.needs_room = True
    seconds = share + perf_counter() - clock
    run.own_seconds += seconds
    run.attempt.train_seconds += seconds


def _pack_key(unit: UnitConfig) -> str:
    """Returns what runs must share to train together: the base model, as it is held."""
    kind = get_kind(unit.task)
    parts = (unit.model.model_dump_json(), kind.auto_class, kind.model_kwargs(unit.task))
    return repr((*parts, unit.method.kind, unit.method.quantization))


def _find_obstacle(unit: UnitConfig) -> str:
    """Returns why runs of a unit cannot be packed, or nothing."""
    if unit.task.kind != "classification":
        return f"the packed engine does not know the loss of {unit.task.kind}"
    if unit.method.kind == "full":
        return "every weight trains, so runs share no base model"
    if unit.method.quantization != "none":
        return f"a base in {unit.method.quantization} is not packed"
    return ""


def _work_of(job: RunJob) -> float:
    """Returns a run's optimiser steps, but for a factor that all share."""
    hyperparameters = job.config.hyperparameters
    return hyperparameters.epochs / hyperparameters.batch_size
