"""Keeping a pool of workers busy: hands out jobs, answers evaluations, retries after deaths."""

from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from phasewise.checkpoints import free_checkpoints, newest_whole
from phasewise.provenance import describe_environment
from phasewise.records import Evaluation, RunRecord, write_record
from phasewise.runs import RunConfig
from phasewise.settings import MachineSettings
from phasewise.training.assignment import measure_work
from phasewise.training.interface import UNPACKED_KEY, Decision, Progress, RunJob
from phasewise.tuning.locking import Lease
from phasewise.tuning.stopping import StopFlag

if TYPE_CHECKING:
    from phasewise.training.pool import PoolEvent

#: How long a signal may wait for an event to end the wait of the pool.
_POLL_SECONDS = 0.5
#: How often it is looked whether other controllers have ended their runs.
_SHARED_POLL_SECONDS = 1.0
#: Known jobs that are asked for at most before a slot is free: enough to assign them well, and few
#: enough that drawing them delays no start.
_MOST_AHEAD = 16


class Pool(Protocol):
    """What tuning needs of ``phasewise.training.pool.WorkerPool``."""

    @property
    def size(self) -> int:
        """Runs that can be under way at once; may change."""

    def offer(self, jobs: Sequence[RunJob]) -> RunJob | None:
        """Starts one of some jobs, and returns it; None if none is to start now."""

    def submit(self, job: RunJob, *, alone: bool = False) -> None:
        """Starts a job, or queues it; ``alone``: its worker trains no other meanwhile."""

    def wait(self, timeout: float | None = None) -> "list[PoolEvent]":
        """Returns what happened since the last call."""

    def answer(self, job: RunJob, decision: Decision) -> None:
        """Lets a run that reported an evaluation go on, or prunes it."""

    def dismiss(self) -> None:
        """Has the workers end, and waits for none; no job is given afterwards."""

    def close(self) -> None:
        """Ends the workers."""


PoolFactory = Callable[[], Pool]
#: Gives the next job; None while there is none to be started (now, if others still run).
Source = Callable[[], RunJob | None]
OnEnded = Callable[[RunJob, RunRecord], None]
#: Called with the evaluations up to a run's checkpoint.
OnResumed = Callable[[RunJob, Sequence[Evaluation]], None]
OnEvaluation = Callable[[RunJob, Evaluation], Decision]


def worker_pool_factory(machine: MachineSettings, log: Path | None) -> PoolFactory:
    """Returns what makes the real pool; its workers load torch, this process does not."""

    def make() -> Pool:
        from phasewise.training.pool import WorkerPool

        return WorkerPool(machine, log)

    return make


class Dispatcher:
    """Runs jobs on a pool that is made with the first job and closed at the end.

    Args:
        factory: Makes the pool.
        retries: New attempts for each run whose worker died; then it is recorded as failed. The
            last attempt is made alone, so that a run which kills its worker cannot use up the
            attempts of those that train with it.
        stop: Checked between events.
        say: Gets a line for each start, each death, and each reason why runs train alone.
        explained: A reason that has been said already.
        lease: On the unit; nothing is told or written without it.
        begun: Gets each job as it is given to a worker for the first time.
    """

    def __init__(
        self,
        factory: PoolFactory,
        *,
        retries: int,
        stop: StopFlag,
        say: Callable[[str], None],
        explained: str = "",
        lease: Lease | None = None,
        begun: Callable[[RunJob], None] = lambda _: None,
    ) -> None:
        self._begun = begun
        self._factory = factory
        self._retries = retries
        self._stop = stop
        self._say = say
        self._pool: Pool | None = None
        self._explained = {explained}
        self._lease = lease
        self._open = ExitStack()
        self._ended = 0
        self._saved: dict[Path, str] = {}  # of runs under way: the newest checkpoint at the start

    def __enter__(self) -> "Dispatcher":
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    @property
    def made_progress(self) -> bool:
        """Whether a run has ended or been saved since the start."""
        saved = any(newest_whole(folder) != before for folder, before in self._saved.items())
        return saved or self._ended > 0

    def dismiss(self) -> None:
        """Has the workers end, beside what is left to do; no job comes any more."""
        if self._pool is not None:
            self._pool.dismiss()

    def run_all(self, jobs: Iterable[RunJob], *, ended: OnEnded, evaluated: OnEvaluation) -> None:
        """Runs a fixed list of jobs to their ends, the longest first; see ``run``."""
        waiting = iter(sorted(jobs, key=measure_work, reverse=True))
        self.run(
            lambda: next(waiting, None),
            ended=ended,
            evaluated=evaluated,
            started=lambda job: self._say(f"{job.config.name} starts"),
            is_known=lambda: True,
        )

    def run(
        self,
        source: Source,
        *,
        ended: OnEnded,
        evaluated: OnEvaluation,
        started: Callable[[RunJob], None] = lambda _: None,
        restarted: Callable[[RunJob], None] = lambda _: None,
        resumed: OnResumed = lambda *_: None,
        is_known: Callable[[], bool] = lambda: False,
        waits: Callable[[], bool] = lambda: False,
    ) -> None:
        """Runs jobs until the source has none, waits for none, and all have ended.

        Args:
            source: Asked whenever a worker has a free slot.
            started: Called as a job starts for the first time.
            is_known: Whether the next job follows from no result. Then it is asked for before
                a slot is free, so that of several the longest starts first, and on the worker
                with the least to do.
            ended: Called with each record, which lies in the job's folder already.
            evaluated: Called with each evaluation; decides whether the run goes on.
            restarted: Called before a run whose worker died starts again.
            resumed: Called if a run, whichever attempt it is, goes on from a checkpoint: with the
                evaluations of which an earlier attempt has reported.
            waits: Whether the source, which has none now, may have more once others have ended
                theirs.

        Raises:
            StoppedError: A stop was asked for; running jobs are cut off.
            RecordError: The unit is another controller's by now.
        """
        attempts: dict[str, int] = {}
        waiting: list[RunJob] = []
        while True:
            self._stop.check()
            self._draw(source, is_known, waiting, attempts)
            self._start(waiting, attempts, started)
            if not attempts:
                if not waits():
                    return
                self._stop.wait(_SHARED_POLL_SECONDS)
                continue
            assert self._pool is not None
            events = self._pool.wait(_POLL_SECONDS)
            self._stop.check()  # before deaths are believed: the signal may have gone to all of us
            if self._lease is not None:
                self._lease.check()
            for event in events:
                job = event.job
                if event.death is not None:
                    self._survive(job, event.death, attempts, ended, restarted)
                elif event.record is not None:
                    del attempts[job.config.name]
                    self._end(job, event.record, ended)
                elif event.resumption is not None:
                    self._say_all(event.resumption.describe())
                    resumed(job, event.resumption.evaluations)
                elif event.progress is not None:
                    self._answer(job, event.progress, evaluated)

    def _answer(self, job: RunJob, progress: Progress, evaluated: OnEvaluation) -> None:
        decision = evaluated(job, progress.evaluation)
        if not progress.is_last:
            assert self._pool is not None
            self._pool.answer(job, decision)

    def _end(self, job: RunJob, record: RunRecord, ended: OnEnded) -> None:
        self._explain_engine(record)
        ended(job, record)
        self._ended += 1
        del self._saved[job.folder]
        if record.status != "failed":  # one that failed is tried again
            free_checkpoints(job.folder)

    def _say_all(self, lines: Iterable[str]) -> None:
        for line in lines:
            self._say(line)

    def _explain_engine(self, record: RunRecord) -> None:
        """Says once for each reason why runs did not train together."""
        reason = record.environment.get(UNPACKED_KEY)
        if reason is not None and reason not in self._explained:
            self._explained.add(reason)
            self._say(f"{record.config.name} trained alone, through the trainer engine: {reason}")

    def _draw(
        self,
        source: Source,
        is_known: Callable[[], bool],
        waiting: list[RunJob],
        under_way: Collection[str],
    ) -> None:
        """Asks for the jobs that fill the free slots, and for some that are known before."""
        while True:
            free = 1 if self._pool is None else self._pool.size - len(under_way)
            if len(waiting) >= free and not (len(waiting) < _MOST_AHEAD and is_known()):
                return
            job = source()
            if job is None:
                return
            waiting.append(job if self._lease is None else job._replace(lease=self._lease.path))

    def _start(
        self,
        waiting: list[RunJob],
        attempts: dict[str, int],
        started: Callable[[RunJob], None],
    ) -> None:
        if waiting and self._pool is None:
            self._pool = self._factory()
            self._open.callback(self._pool.close)
        while waiting and self._pool is not None:
            job = self._pool.offer(waiting)
            if job is None:
                return
            waiting.remove(job)
            attempts[job.config.name] = 1
            self._saved[job.folder] = newest_whole(job.folder)
            self._begun(job)
            started(job)

    def _survive(
        self,
        job: RunJob,
        death: str,
        attempts: dict[str, int],
        ended: OnEnded,
        restarted: Callable[[RunJob], None],
    ) -> None:
        name = job.config.name
        if attempts[name] <= self._retries:
            self._say(f"{name}: {death}; attempt {attempts[name] + 1} of {self._retries + 1}")
            attempts[name] += 1
            restarted(job)
            assert self._pool is not None
            self._pool.submit(job, alone=attempts[name] > self._retries)
            return
        del attempts[name]
        record = failed_record(job.config, f"worker died {self._retries + 1} times, last: {death}")
        write_record(job.folder, record)
        del self._saved[job.folder]
        ended(job, record)


def failed_record(config: RunConfig, message: str) -> RunRecord:
    """Returns the record of a run that no worker lived to write."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return RunRecord(
        config=config,
        hash=config.hash,
        status="failed",
        message=message,
        environment=describe_environment(),
        started=now,
        ended=now,
    )
