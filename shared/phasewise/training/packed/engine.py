"""The ``packed`` engine: runs of one base model advance in lockstep, each in a slot of its own."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from time import perf_counter
from typing import Any, NamedTuple

from phasewise.checkpoints import newest_owner
from phasewise.methods.models import BaseModel
from phasewise.records import RunRecord
from phasewise.runs import RunConfig, UnitConfig
from phasewise.settings import MachineSettings
from phasewise.tasks.examples import EvalSet, Outputs
from phasewise.tasks.kinds import get_kind
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
from phasewise.training.interface import ControllerGoneError, Reporter, RunJob
from phasewise.training.kernels.library import use_kernels
from phasewise.training.packed.layout import CannotPackError
from phasewise.training.packed.lockstep import OUT_OF_MEMORY, advance, charge
from phasewise.training.packed.model import PackedModel
from phasewise.training.packed.queue import JobQueue, pack_key
from phasewise.training.packed.run import PackedRun
from phasewise.training.packed.scoring import PackScores
from phasewise.training.packed.slots import MemoryUse, SlotMeter
from phasewise.training.responses import add_texts
from phasewise.training.saving import TERMINATED, name_owner
from phasewise.training.training_run import TrainingRun, find_micro_batch_size
from phasewise.training.warm import WarmParts

#: Its name in records and checkpoints.
ENGINE = "packed"


class UnpackedRun(NamedTuple):
    """A run that has to train alone, from its start."""

    job: RunJob
    obstacle: str
    """Why it cannot be packed."""
    reported_until: int = 0
    """The step up to which its evaluations have been reported."""


class PackedEngine:
    """Trains many runs at once over one base model; a run's numbers are its own.

    Args:
        machine: Whether there are kernels, and how many runs train together.
        warm: What another engine of this process shares.
    """

    def __init__(self, machine: MachineSettings, warm: WarmParts) -> None:
        use_kernels(machine.kernels)
        self._warm, self._device = warm, warm.device
        self._fixed_slots = machine.slots
        self._meter = SlotMeter(self._fixed_slots, self._measure_memory)
        self._model: tuple[BaseModel, PackedModel | str] | None = None  # or why there is none
        self._scores = PackScores(self._device)
        self._memory_before = 0.0

    @property
    def slots(self) -> int:
        """Runs that train at the same time."""
        return self._meter.slots

    def find_obstacle(self, unit: UnitConfig) -> str:
        """Returns why a unit's runs cannot be packed, or nothing; loads its model to find out."""
        choice = choose_engine(unit.task, unit.method, unit.training)
        if choice.obstacle:
            return choice.obstacle
        packed = self._pack_model(unit)
        return packed if isinstance(packed, str) else ""

    def train_pack(
        self, first: RunJob, queue: JobQueue, report: Reporter
    ) -> Iterator[RunRecord | UnpackedRun]:
        """Keeps every slot busy until no run of this pack is left.

        Args:
            first: A run whose unit has no obstacle.
            queue: Where further runs come from.
            report: Receives every evaluation.

        Yields:
            The record of each run as it ends, or the run if it has to train alone.
        """
        packed = self._pack_model(first.config.unit_config)
        assert isinstance(packed, PackedModel)
        key = pack_key(first.config.unit_config)
        reset_peak_memory(self._device)
        self._memory_before = used_memory_bytes(self._device)
        active: list[PackedRun] = []
        job: RunJob | None = first
        try:
            while job is not None or active:
                while job is not None:
                    started = self._start(job, packed, report)
                    if isinstance(started, PackedRun):
                        active.append(started)
                    else:
                        yield started
                    job = queue.take_like(key) if len(active) < self.slots else None
                self._evaluate([run for run in active if run.is_due])  # of those that go on
                advance(packed, [r for r in active if not r.is_ended], self._meter, self._warm)
                self._evaluate([run for run in active if run.is_due])
                for run in [run for run in active if run.is_ended]:
                    active.remove(run)
                    yield self._end(run)
                self._save(active)
                job = queue.take_like(key) if len(active) < self.slots else None
        except ControllerGoneError:
            self._save_worthy(active)
            raise
        finally:
            for run in active:
                self._warm.end.leave(run.training.saver)

    def _save(self, runs: Sequence[PackedRun]) -> None:
        """Saves all runs once the time of one has come: those that go on from it make up a pack.

        Raises:
            SystemExit: The process was asked to end.
        """
        if self._warm.end.is_made:
            self._save_worthy(runs)
            raise SystemExit(TERMINATED)
        if any(run.training.saver.is_due for run in runs):
            for run in runs:
                run.save(self._meter.state)

    def _save_worthy(self, runs: Sequence[PackedRun]) -> None:
        """Saves those runs of which more would be lost than a short run takes."""
        for run in runs:
            if run.training.saver.is_worth_saving:
                run.save(self._meter.state)

    def _pack_model(self, unit: UnitConfig) -> PackedModel | str:
        """Returns the pack's model, or why there is none; asked once for a base model."""
        kind = get_kind(unit.task)
        base = self._warm.base(unit, kind.auto_class, kind.model_kwargs(unit.task))
        if self._model is None or self._model[0] is not base:
            self._model = None
            self._model = (base, _pack_model(base))
            self._meter = SlotMeter(self._fixed_slots, self._measure_memory)
        return self._model[1]

    def _measure_memory(self) -> MemoryUse:
        peak = peak_memory_mb(self._device) * BYTES_PER_MB
        return MemoryUse(peak - self._memory_before, free_memory_bytes(self._device))

    def _start(
        self, job: RunJob, packed: PackedModel, report: Reporter
    ) -> PackedRun | RunRecord | UnpackedRun:
        """Returns a run that has its slot, or what becomes of it without one."""
        clock = perf_counter()
        try:
            run = self._join(job, packed, report)
        except CannotPackError as error:
            return UnpackedRun(job, str(error))
        except Exception as error:
            return describe_failure(job, error, datetime.now(UTC))
        run.own_seconds = perf_counter() - clock
        return run

    def _join(self, job: RunJob, packed: PackedModel, report: Reporter) -> PackedRun:
        """Gives a run its slot.

        Raises:
            CannotPackError: The run needs what the pack does not do.
        """
        if newest_owner(job.folder) == name_owner(job, "trainer", self._device.type):
            raise CannotPackError("it has a checkpoint of a run alone")
        training = TrainingRun(
            job,
            self._warm,
            report,
            saver=self._warm.saver(job, ENGINE),
            micro_batch_size=find_micro_batch_size(job.config),
            predict=self._predict,
        )
        try:
            training.build_model()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise CannotPackError(OUT_OF_MEMORY) from error
        run = PackedRun(training, packed)
        if training.saver.found is not None:
            self._meter.restore(training.saver.found.state["slots"])
        self._scores.add(training.model, packed, run.member)
        self._warm.end.enter(training.saver)
        return run

    def _evaluate(self, runs: Sequence[PackedRun]) -> None:
        """Scores the runs that are due, their forward passes together."""
        clock = perf_counter()
        try:
            self._predict_ahead(runs)
        except Exception:  # whose it is shows below, where each run without logits is asked alone
            release_memory(self._device)
        share = (perf_counter() - clock) / max(1, len(runs))
        for run in runs:
            charge(run, share, run.evaluate)

    def _predict_ahead(self, runs: Sequence[PackedRun]) -> None:
        """Computes the logits that the runs will ask for."""
        asked = []
        for run in runs:
            own = run.training
            sets = [own.data.search, own.train_eval] if run.is_at_end else [own.data.search]
            asked += [(own.model, eval_set.features) for eval_set in sets]
        if asked:
            unit = runs[0].job.config.unit_config
            self._scores.prepare(asked, self._warm.collator(unit), self._warm.context(unit))

    def _predict(self, config: RunConfig, eval_set: EvalSet, model: Any, writes: bool) -> Outputs:
        if not self._scores.knows(model):
            return self._warm.predict(config, eval_set, model, writes)
        unit = config.unit_config
        collate, context = self._warm.collator(unit), self._warm.context(unit)
        found = self._scores.predict(model, eval_set.features, collate, context)
        if not unit.task.traits.generates:
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

    def _end(self, run: PackedRun) -> RunRecord | UnpackedRun:
        """Returns what becomes of a run whose training is over, and frees what it held."""
        if run.leaves:
            self._drop(run)
            return UnpackedRun(run.job, run.leaves, run.training.watch.reported_until)
        clock = perf_counter()
        if run.training.status == "finished":
            try:
                run.training.finish()
            except Exception as error:
                run.training.status = "failed"
                run.training.message = explain_failure(run.job, error)
        seconds = run.own_seconds + perf_counter() - clock
        record = run.training.describe(ENGINE, seconds)
        self._drop(run)
        return record

    def _drop(self, run: PackedRun) -> None:
        self._warm.end.leave(run.training.saver)
        self._scores.drop(run.training.model)
        run.training.model = None
        run.parameters.clear()
        if self._device.type == "cuda":
            release_memory(self._device)


def _pack_model(base: BaseModel) -> PackedModel | str:
    """Returns the pack's model, or why there can be none."""
    try:
        return PackedModel(base)
    except CannotPackError as error:
        return str(error)
