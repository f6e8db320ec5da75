"""Worker processes seen from their controller: assign runs, collect events, survive deaths.

Imports no torch, so that a controller stays small and starts at once.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path
from threading import Thread
from time import monotonic
from typing import NamedTuple

from phasewise.errors import WorkerError
from phasewise.records import RunRecord
from phasewise.runs import UnitConfig
from phasewise.settings import MachineSettings
from phasewise.training.assignment import WorkerLoad, choose, measure_work
from phasewise.training.hardware import find_gpu_groups
from phasewise.training.interface import Answer, Decision, Progress, Resumption, RunJob, Slots
from phasewise.training.worker_process import (
    WORKER_COMMAND,
    WorkerProcess,
    describe_death,
    reap,
    start_worker,
)

#: A worker that was asked to end has this long before it is killed.
_GRACE_SECONDS = 5.0
#: One at work may have a step to end and a checkpoint to write; a time limit kills after 45 s.
_SAVING_SECONDS = 35.0


class PoolEvent(NamedTuple):
    """What happened to a job; one of the others is given."""

    job: RunJob
    progress: Progress | None = None
    resumption: Resumption | None = None
    record: RunRecord | None = None
    death: str | None = None


@dataclass
class _Worker:
    """One child process, with the runs that it was given and has not ended, by name."""

    process: WorkerProcess
    connection: Connection
    gpu: str | None
    slots: int = 1  # runs that it would train at once; it says so once it knows
    jobs: dict[str, RunJob] = field(default_factory=dict)
    is_reserved: bool = False  # for a run that is to be alone

    def accepts(self, alone: bool) -> bool:
        """Whether it has a free slot."""
        if alone or self.is_reserved:
            return not self.jobs
        return len(self.jobs) < self.slots


class WorkerPool:
    """Long-lived worker processes that train runs, each as many at once as it has slots.

    An evaluation among the events must be answered by ``answer``, unless it is its run's last: its
    worker waits. Make the pool in the main thread: workers get SIGTERM when the thread that
    started them ends.

    Args:
        machine: Devices, number of workers, threads of each.
        log: File that the workers' output is appended to; None: it is dropped.
        command: How a worker is started, without its pipe; for tests.
    """

    def __init__(
        self,
        machine: MachineSettings,
        log: Path | None = None,
        command: tuple[str, ...] = WORKER_COMMAND,
    ) -> None:
        self._machine = machine
        self._log = log
        self._command = command
        self._gpus = find_gpu_groups(machine)
        self._most_workers = machine.workers or len(self._gpus) or 1
        self._workers: list[_Worker] = []
        self._queue: deque[tuple[RunJob, bool]] = deque()  # each with whether it is to be alone
        self._closed = False

    @property
    def size(self) -> int:
        """Runs that can be under way at once; changes as workers measure their slots."""
        return sum(w.slots for w in self._workers) + self._most_workers - len(self._workers)

    def submit(self, job: RunJob, *, alone: bool = False) -> None:
        """Gives the job to a worker with a free slot, starts one, or queues it if all are full.

        Args:
            job: The run; its name is that of no other under way.
            alone: Whether its worker may train no other run meanwhile.

        Raises:
            WorkerError: The pool is closed, or no process can be started.
        """
        self._check_open([job])
        self._queue.append((job, alone))
        self._dispatch()

    def offer(self, jobs: Sequence[RunJob]) -> RunJob | None:
        """Starts one of some runs, if a worker has a slot for one that ``assign_runs`` gives it.

        Args:
            jobs: Runs that are not under way; none that waits must come before them.

        Returns:
            The run that was started: offer the others again; None: all workers are full, or those
            that are not have enough to do.

        Raises:
            WorkerError: See ``submit``.
        """
        self._check_open(jobs)
        while jobs and not self._queue:
            chosen = choose([measure_work(job) for job in jobs], self._loads())
            if chosen is None:
                return None
            place, index = chosen
            worker = self._workers[place] if place < len(self._workers) else None
            if self._give(worker, jobs[index], alone=False):
                return jobs[index]
            if worker is not None and worker.jobs:
                return None
        return None

    def wait(self, timeout: float | None = None) -> list[PoolEvent]:
        """Returns what happened since the last call.

        The list is empty if there are only more slots, if time has run out, or if no job is
        under way.

        Args:
            timeout: Seconds; None: as long as it takes.
        """
        size = self.size
        deadline = None if timeout is None else monotonic() + timeout
        while busy := {w.connection: w for w in self._workers if w.jobs}:
            left = None if deadline is None else max(0.0, deadline - monotonic())
            events: list[PoolEvent] = []
            for connection in wait(list(busy), left):
                assert isinstance(connection, Connection)
                events.extend(self._receive(busy[connection]))
            self._dispatch()
            late = deadline is not None and monotonic() >= deadline
            if events or late or self.size > size:
                return events
        return []

    def answer(self, job: RunJob, decision: Decision) -> None:
        """Lets the worker that reported an evaluation go on, or tells it to prune the run."""
        for worker in self._workers:
            if job.config.name in worker.jobs:
                _send(worker, Answer(job.config.name, decision))

    def dismiss(self) -> None:
        """Has all workers end; running jobs are cut off, queued ones dropped; waits for none."""
        self._closed = True
        self._queue.clear()
        for worker in self._workers:
            worker.connection.close()  # an idle worker ends by itself

    def close(self) -> None:
        """Ends all workers; running jobs are cut off, queued ones dropped.

        Waits for those that were at work or held a GPU, which the next may need. Of the others
        nothing is to come but that their memory is freed, which takes a tenth of a second.
        """
        self.dismiss()
        for worker in self._workers:
            if worker.jobs:
                worker.process.terminate()
        start = monotonic()
        for worker in self._workers:
            grace = _SAVING_SECONDS if worker.jobs else _GRACE_SECONDS
            seconds = max(0.1, start + grace - monotonic())
            if worker.jobs or worker.gpu is not None:
                reap(worker.process, seconds)
            else:
                Thread(target=reap, args=(worker.process, seconds), daemon=True).start()
        self._workers.clear()

    def __enter__(self) -> "WorkerPool":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _dispatch(self) -> None:
        while self._queue:
            job, alone = self._queue[0]
            free = [worker for worker in self._workers if worker.accepts(alone)]
            worker = min(free, key=lambda worker: len(worker.jobs), default=None)
            if self._missing and (worker is None or worker.jobs):
                worker = None
            elif worker is None:
                return
            if self._give(worker, job, alone):
                self._queue.popleft()
            elif worker is not None and worker.jobs:
                return

    def _check_open(self, jobs: Sequence[RunJob]) -> None:
        if self._closed:
            raise WorkerError(f"{jobs[0].config.label}: the worker pool has been closed")

    def _loads(self) -> list[WorkerLoad]:
        """Returns what each worker has and may take, those included that may still be started."""
        loads = [
            WorkerLoad(
                [measure_work(job) for job in w.jobs.values()], w.slots, w.accepts(alone=False)
            )
            for w in self._workers
        ]
        return loads + [WorkerLoad((), 1, True)] * self._missing

    @property
    def _missing(self) -> int:
        """Workers that may still be started."""
        return self._most_workers - len(self._workers)

    def _give(self, worker: _Worker | None, job: RunJob, alone: bool) -> bool:
        """Sends a run to a worker, None: to a new one; returns whether it could be reached.

        One that could not will tell its death with its runs', if it has any.
        """
        if worker is None:
            worker = self._start_worker(job.config.unit_config)
        if _send(worker, job):
            worker.jobs[job.config.name] = job
            worker.is_reserved = alone
            return True
        if not worker.jobs:  # it died while idle: no run was lost, so nobody needs to know
            self._remove(worker)
        return False

    def _start_worker(self, unit: UnitConfig) -> _Worker:
        mine, theirs = Pipe()
        gpu = self._next_gpu()
        try:
            process = start_worker(
                self._command, self._machine, theirs, gpu=gpu, log=self._log, unit=unit
            )
        except OSError as error:
            mine.close()
            raise WorkerError(
                f"cannot start a worker process ({self._command[0]}): {error}"
            ) from error
        finally:
            theirs.close()
        worker = _Worker(process, mine, gpu)
        self._workers.append(worker)
        return worker

    def _next_gpu(self) -> str | None:
        if not self._gpus:
            return None
        return min(self._gpus, key=[worker.gpu for worker in self._workers].count)

    def _receive(self, worker: _Worker) -> list[PoolEvent]:
        try:
            message = worker.connection.recv()
        except (EOFError, OSError):
            death = self._remove(worker)
            return [PoolEvent(job, death=death) for job in worker.jobs.values()]
        if isinstance(message, Slots):
            worker.slots = message.runs
            return []
        if isinstance(message, RunRecord):
            return [PoolEvent(worker.jobs.pop(message.config.name), record=message)]
        job = worker.jobs[message.run]
        if isinstance(message, Resumption):
            return [PoolEvent(job, resumption=message)]
        return [PoolEvent(job, progress=message)]

    def _remove(self, worker: _Worker) -> str:
        """Forgets a dead worker; returns how it died."""
        worker.connection.close()
        self._workers.remove(worker)
        return describe_death(reap(worker.process, _GRACE_SECONDS), self._log)


def _send(worker: _Worker, message: RunJob | Answer) -> bool:
    """Returns whether the worker could still be reached; its death is told by the pipe."""
    try:
        worker.connection.send(message)
    except OSError:
        return False
    return True
