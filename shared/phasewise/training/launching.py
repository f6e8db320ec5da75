"""The engine of runs that need several devices: each is trained by processes started for it.

It is what a worker runs where ``machine.gpus_per_run`` is above 1. It holds no torch: it passes the
first rank's evaluations on, and sees to it that no rank outlives another.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from time import monotonic
from typing import NamedTuple

from phasewise.errors import WorkerError
from phasewise.records import RunRecord
from phasewise.settings import MachineSettings
from phasewise.training.interface import Decision, Feed, Progress, Reporter, Resumption, RunJob
from phasewise.training.ranks import (
    PEER_LOST_EXIT,
    RankTask,
    find_port,
    rank_environment,
)
from phasewise.training.worker_process import describe_death, reap

#: How a rank is started, without its pipe and machine.
RANK_COMMAND = (sys.executable, "-m", "phasewise.training.rank")
#: Seconds that the others have to tell what they know once one rank has failed.
_GRACE_SECONDS = 5.0
_POLL_SECONDS = 0.5


class _Rank(NamedTuple):
    process: "subprocess.Popen[bytes]"
    pipe: Connection


class LaunchingEngine:
    """Trains runs one after another, each by as many processes as it gets devices.

    Args:
        machine: ``gpus_per_run``, and what each rank needs.
    """

    def __init__(self, machine: MachineSettings) -> None:
        self._machine = machine

    @property
    def slots(self) -> int:
        """One run at a time."""
        return 1

    def train(self, jobs: Feed, report: Reporter) -> Iterator[RunRecord]:
        """Yields the record of each run as it ends; see ``interface.Engine``.

        Raises:
            WorkerError: A rank was killed; which, and how, is the message.
        """
        for job in jobs:
            if job is not None:
                yield self._train(job, report)

    def _train(self, job: RunJob, report: Reporter) -> RunRecord:
        """Trains with ever smaller forward passes until memory suffices; the batch stays."""
        reported, most_rows = 0, None

        def note(progress: Progress | Resumption) -> Decision:
            nonlocal reported
            if isinstance(progress, Progress):
                reported = progress.evaluation.step
            return report(progress)

        while True:
            with _start_ranks(self._machine, RankTask(job, most_rows, reported)) as ranks:
                record = _watch(ranks, note)
            rows = record.cost.micro_batch_size if record.cost else 1
            if record.status != "infeasible" or rows == 1:
                return record
            most_rows = rows // 2


@contextmanager
def _start_ranks(machine: MachineSettings, task: RankTask) -> Iterator[list[_Rank]]:
    """Starts the ranks of a run; none is left when the block ends."""
    ranks: list[_Rank] = []
    port = find_port()
    with ExitStack() as open_pipes:
        try:
            for number in range(machine.gpus_per_run):
                mine, theirs = Pipe()
                open_pipes.callback(mine.close)
                with theirs:
                    process = subprocess.Popen(
                        [*RANK_COMMAND, str(theirs.fileno()), machine.model_dump_json()],
                        stdin=subprocess.DEVNULL,
                        env=rank_environment(number, machine.gpus_per_run, port),
                        pass_fds=[theirs.fileno()],
                    )
                ranks.append(_Rank(process, mine))
                mine.send(task)
            yield ranks
        finally:
            for rank in ranks:
                rank.process.kill()
            for rank in ranks:
                rank.process.wait()


def _watch(ranks: list[_Rank], report: Reporter) -> RunRecord:
    """Passes evaluations on until every rank has ended, or one failed; returns what it left.

    Raises:
        WorkerError: A rank was killed, or ended without a record.
    """
    records: dict[int, RunRecord] = {}
    open_pipes = {rank.pipe: number for number, rank in enumerate(ranks)}
    deadline: float | None = None
    while open_pipes and (deadline is None or monotonic() < deadline):
        for pipe in wait(list(open_pipes), _POLL_SECONDS):
            assert isinstance(pipe, Connection)
            number = open_pipes[pipe]
            try:
                message: Progress | RunRecord = pipe.recv()
            except (EOFError, OSError):
                del open_pipes[pipe]
                if number not in records:
                    _require_peer_lost(ranks, number)
                    deadline = deadline or monotonic() + _GRACE_SECONDS
                continue
            if isinstance(message, Progress):
                pipe.send(report(message))
                continue
            records[number] = message
            if number == 0 or message.status not in ("finished", "pruned"):
                deadline = deadline or monotonic() + _GRACE_SECONDS
    return _choose(records, len(ranks))


def _require_peer_lost(ranks: list[_Rank], number: int) -> None:
    code = reap(ranks[number].process, _GRACE_SECONDS)
    if code != PEER_LOST_EXIT:
        raise WorkerError(f"rank {number} of {len(ranks)}: {describe_death(code, None)}")


def _choose(records: dict[int, RunRecord], count: int) -> RunRecord:
    """Returns the first rank's record, unless another tells of memory or an error of its own."""
    for status in ("infeasible", "failed"):
        for record in records.values():
            if record.status == status:
                return record
    if 0 not in records:
        raise WorkerError(f"the {count} ranks of a run lost each other; their log has the cause")
    return records[0]
