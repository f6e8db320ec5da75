"""Gives each run to an engine: those of one base model train together, the rest one by one."""

import warnings
from collections.abc import Iterator
from datetime import UTC, datetime

from phasewise.errors import ConfigError
from phasewise.records import RunRecord
from phasewise.settings import MachineSettings
from phasewise.training.failures import describe_failure
from phasewise.training.interface import UNPACKED_KEY, Feed, Reporter, RunJob
from phasewise.training.packed.engine import PackedEngine, UnpackedRun
from phasewise.training.packed.queue import JobQueue
from phasewise.training.saving import EndRequest
from phasewise.training.trainer_engine import TrainerEngine
from phasewise.training.warm import prepare_machine


class TrainedAloneWarning(UserWarning):
    """A run trains alone, through the ``trainer`` engine; the message says why."""


class AutoEngine:
    """Packs the runs that can be, as ``training.engine`` allows, and trains the others alone.

    Args:
        machine: Which device, how many CPU threads, and how many runs train together.
    """

    def __init__(self, machine: MachineSettings) -> None:
        self._warm = prepare_machine(machine)
        self._trainer = TrainerEngine(machine, self._warm)
        self._packed = PackedEngine(machine, self._warm)
        self._packs = False  # whether what trains now is a pack

    @property
    def end(self) -> EndRequest:
        """What asks it to save the runs under way, and to raise SystemExit."""
        return self._warm.end

    @property
    def slots(self) -> int:
        """Runs that train at the same time; see ``interface.Engine``."""
        return self._packed.slots if self._packs else 1

    def train(self, jobs: Feed, report: Reporter) -> Iterator[RunRecord]:
        """Yields the record of each run as it ends; see ``interface.Engine``."""
        queue = JobQueue(jobs)
        while (job := queue.take()) is not None:
            self._packs = False
            try:
                obstacle = self._packed.find_obstacle(job.config.unit_config)
            except Exception as error:
                yield describe_failure(job, error, datetime.now(UTC))
                continue
            if obstacle:
                yield self._train_unpackable(job, report, obstacle)
            else:
                yield from self._train_pack(job, queue, report)

    def _train_unpackable(self, job: RunJob, report: Reporter, obstacle: str) -> RunRecord:
        """Trains a run alone; refuses if the study asks for the packed engine by name."""
        engine = job.config.unit_config.training.engine
        if engine == "trainer":
            return self._trainer.train_run(job, report)
        if engine == "packed":
            error = ConfigError(
                f"{job.config.label}: training.engine is packed, but {obstacle}; "
                "use auto or trainer"
            )
            return describe_failure(job, error, datetime.now(UTC))
        return self._train_alone(UnpackedRun(job, obstacle), report)

    def _train_pack(self, first: RunJob, queue: JobQueue, report: Reporter) -> Iterator[RunRecord]:
        self._packs = True
        left: list[UnpackedRun] = []  # they train once the pack is done
        for ended in self._packed.train_pack(first, queue, report):
            if isinstance(ended, UnpackedRun):
                left.append(ended)
            else:
                yield ended
        for run in left:
            yield self._train_alone(run, report)

    def _train_alone(self, left: UnpackedRun, report: Reporter) -> RunRecord:
        message = f"{left.job.config.label}: trains alone ({left.obstacle})"
        warnings.warn(message, TrainedAloneWarning, stacklevel=4)
        record = self._trainer.train_run(left.job, report, left.reported_until)
        environment = {**record.environment, UNPACKED_KEY: left.obstacle}
        return record.model_copy(update={"environment": environment})
