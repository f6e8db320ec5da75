"""The ``trainer`` engine: one run after another through transformers' Trainer."""

from collections.abc import Iterator
from datetime import UTC, datetime
from time import perf_counter

from phasewise.errors import InfeasibleRunError
from phasewise.records import RunRecord
from phasewise.settings import MachineSettings
from phasewise.training.batching import largest_micro_batch
from phasewise.training.device import (
    describe_memory_error,
    is_out_of_memory,
    release_memory,
    reset_peak_memory,
)
from phasewise.training.failures import describe_failure
from phasewise.training.interface import Feed, Reporter, RunJob
from phasewise.training.saving import EndRequest, RunSaver
from phasewise.training.training_run import TrainingRun, find_micro_batch_size
from phasewise.training.warm import WarmParts, prepare_machine

#: Its name in records and checkpoints.
ENGINE = "trainer"


class TrainerEngine:
    """Trains runs one by one on one device; base model and data stay warm between them.

    Args:
        machine: Which device, and how many CPU threads.
        warm: What another engine of this process shares; None: nothing.
    """

    def __init__(self, machine: MachineSettings, warm: WarmParts | None = None) -> None:
        self._warm = warm or prepare_machine(machine)

    @property
    def end(self) -> EndRequest:
        """What asks it to save the run under way, and to raise SystemExit."""
        return self._warm.end

    @property
    def slots(self) -> int:
        """One run at a time."""
        return 1

    def train(self, jobs: Feed, report: Reporter) -> Iterator[RunRecord]:
        """Yields the record of each run as it ends; see ``interface.Engine``."""
        for job in jobs:
            if job is not None:
                yield self.train_run(job, report)

    def train_run(
        self,
        job: RunJob,
        report: Reporter,
        reported_until: int = 0,
        most_rows: int | None = None,
    ) -> RunRecord:
        """Returns the record of a run.

        Args:
            job: The run.
            report: Receives every evaluation.
            reported_until: Step up to which an earlier attempt has been reported already.
            most_rows: Of a forward pass on one device; None: as the settings say.

        Raises:
            ControllerGoneError: See ``explain_failure``; so is a lost device.
        """
        started, clock = datetime.now(UTC), perf_counter()
        reset_peak_memory(self._warm.device)
        saver = self._warm.saver(job, ENGINE)
        self._warm.end.enter(saver)
        try:
            run = self._train_fitting(job, report, saver, reported_until, most_rows)
            if run.status == "finished":
                run.finish()
            record = run.describe(ENGINE, perf_counter() - clock)
            run.model = None
        except Exception as error:
            record = describe_failure(job, error, started)
        finally:
            self._warm.end.leave(saver)
        release_memory(self._warm.device)
        return record

    def _train_fitting(
        self,
        job: RunJob,
        report: Reporter,
        saver: RunSaver,
        reported_until: int,
        most_rows: int | None,
    ) -> TrainingRun:
        """Trains with ever smaller micro-batches until memory suffices; the batch stays.

        Several ranks have to change theirs together: one attempt, and their launcher goes on.
        """
        ranks = self._warm.ranks.devices
        size = find_micro_batch_size(job.config, ranks, most_rows)
        if saver.found is not None:
            size = min(size, saver.found.state["micro_batch_size"])
        while True:
            run = TrainingRun(
                job,
                self._warm,
                report,
                saver=saver,
                micro_batch_size=size,
                reported_until=reported_until,
            )
            try:
                run.build_model()
                self._train(run)
            except InfeasibleRunError as error:
                run.status, run.message = "diverged", str(error)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                run.status, run.message = "infeasible", describe_memory_error(error)
            if run.status != "infeasible" or size == 1 or ranks > 1:
                return run
            reported_until = run.watch.reported_until
            size = largest_micro_batch(job.config.hyperparameters.batch_size, size // 2)
            run.model = None
            release_memory(self._warm.device)
            saver.look_again()

    def _train(self, run: TrainingRun) -> None:
        from phasewise.training.run_trainer import train_run  # brings datasets and pandas

        train_run(run, self._warm)
