"""The engine of runs that need several devices: each is trained by processes started for it.

It is what a worker runs where ``machine.gpus_per_run`` is above 1. It holds no torch: it passes the
first rank's evaluations on, and sees to it that no rank outlives another.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from time import monotonic
from typing import NamedTuple

from phasewise.checkpoints import FoundCheckpoint
from phasewise.errors import WorkerError
from phasewise.records import RunRecord
from phasewise.settings import MachineSettings
from phasewise.training.interface import (
    ControllerGoneError,
    Decision,
    Feed,
    Progress,
    Reporter,
    Resumption,
    RunJob,
)
from phasewise.training.ranks import (
    CONTROLLER_GONE_EXIT,
    PEER_LOST_EXIT,
    RankTask,
    find_port,
    rank_environment,
)
from phasewise.training.saving import TERMINATED, DecidedElsewhere, EndRequest
from phasewise.training.worker_process import describe_death, reap

#: How a rank is started, without its pipe and machine.
RANK_COMMAND = (sys.executable, "-m", "phasewise.training.rank")
#: Seconds that the others have to tell what they know once one rank has failed.
_GRACE_SECONDS = 5.0
_POLL_SECONDS = 0.5
#: What a rank sends; the first alone sends any but its record.
FromRank = Progress | Resumption | FoundCheckpoint | RunRecord


class _Rank(NamedTuple):
    process: "subprocess.Popen[bytes]"
    pipe: Connection


class LaunchingEngine:
    """Trains runs one after another, each by as many processes as it gets devices.

    Args:
        machine: ``gpus_per_run``, and what each rank needs.

    Attributes:
        end: What asks it to have the run under way saved, and to raise SystemExit.
    """

    def __init__(self, machine: MachineSettings) -> None:
        self._machine = machine
        self.end = EndRequest()

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
            if job is None:
                continue
            self.end.enter(under_way := DecidedElsewhere())
            try:
                record = self._train(job, report)
            finally:
                self.end.leave(under_way)
            yield record

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
                record = _Watch(ranks, note, self.end).watch()
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


class _Watch:
    """Passes on what the ranks of a run tell until all have ended, or one has failed.

    Args:
        ranks: Just started.
        report: Receives evaluations, and that the run goes on from a checkpoint.
        end: What this process was asked to do; the ranks are asked for the same then.
    """

    def __init__(self, ranks: list[_Rank], report: Reporter, end: EndRequest) -> None:
        self._ranks, self._report, self._end = ranks, report, end
        self._records: dict[int, RunRecord] = {}
        self._open = {rank.pipe: number for number, rank in enumerate(ranks)}
        self._deadline: float | None = None
        self._gone: ControllerGoneError | None = None
        self._has_told = False

    def watch(self) -> RunRecord:
        """Returns what the ranks left.

        Raises:
            WorkerError: A rank was killed, or ended without a record.
            ControllerGoneError: Nobody listens any more; a run that is worth it has been saved.
            SystemExit: This process was asked to end; likewise.
        """
        while self._open and (self._deadline is None or monotonic() < self._deadline):
            self._pass_on_end()
            for pipe in wait(list(self._open), _POLL_SECONDS):
                assert isinstance(pipe, Connection)
                try:
                    message = pipe.recv()
                except (EOFError, OSError):
                    self._lose(self._open.pop(pipe))
                else:
                    self._take(pipe, message)
        if 0 not in self._records and self._gone is not None:
            raise self._gone
        if 0 not in self._records and self._end.is_made:
            sys.exit(TERMINATED)
        return _choose(self._records, len(self._ranks))

    def _pass_on_end(self) -> None:
        """Has the ranks save the run if it is worth it, and end, once this process is to."""
        if self._is_over and not self._has_told:
            self._has_told = True
            for rank in self._ranks:
                rank.process.terminate()

    @property
    def _is_over(self) -> bool:
        """Whether the run is to end here, finished or not."""
        return self._end.is_made or self._gone is not None

    def _take(self, pipe: Connection, message: FromRank) -> None:
        if isinstance(message, RunRecord):
            number = self._open[pipe]
            self._records[number] = message
            if number == 0 or message.status not in ("finished", "pruned"):
                self._let_others_end()
        elif isinstance(message, FoundCheckpoint):
            for rank in self._ranks[1:]:
                _send(rank.pipe, message)
        else:
            answer: Decision | None = None
            try:
                answer = self._report(message)
            except ControllerGoneError as error:
                self._gone = error
            if isinstance(message, Progress):
                _send(pipe, answer)

    def _lose(self, number: int) -> None:
        """Takes note that a rank has ended.

        Raises:
            WorkerError: It was killed, or ended by an error of its own.
            ControllerGoneError: The run's files are another controller's.
        """
        if number in self._records:
            return
        self._let_others_end()
        if self._is_over:
            if number == 0:  # what is to be saved has been, by all
                self._deadline = monotonic()
            return
        code = reap(self._ranks[number].process, _GRACE_SECONDS)
        if code == CONTROLLER_GONE_EXIT:
            raise ControllerGoneError
        if code != PEER_LOST_EXIT:
            death = describe_death(code, None)
            raise WorkerError(f"rank {number} of {len(self._ranks)}: {death}")

    def _let_others_end(self) -> None:
        self._deadline = self._deadline or monotonic() + _GRACE_SECONDS


def _send(pipe: Connection, message: FoundCheckpoint | Decision | None) -> None:
    """Sends a rank a message; that it has ended is seen when it is listened to."""
    with suppress(OSError):
        pipe.send(message)


def _choose(records: dict[int, RunRecord], count: int) -> RunRecord:
    """Returns the first rank's record, unless another tells of memory or an error of its own."""
    for status in ("infeasible", "failed"):
        for record in records.values():
            if record.status == status:
                return record
    if 0 not in records:
        raise WorkerError(f"the {count} ranks of a run lost each other; their log has the cause")
    return records[0]
