"""A worker process: trains the runs it is sent and holds the base model between them.

Started by ``WorkerPool`` as ``python -m phasewise.training.worker FD MACHINE_JSON``.
"""

import ctypes
import gc
import os
import signal
import sys
from _thread import start_new_thread
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection
from types import FrameType

from phasewise.errors import WorkerError
from phasewise.provenance import describe_environment
from phasewise.records import RunRecord, write_record
from phasewise.settings import MachineSettings
from phasewise.training.choice import needs_bitsandbytes
from phasewise.training.interface import (
    Answer,
    ControllerGoneError,
    Decision,
    Engine,
    Progress,
    Resumption,
    RunJob,
    Slots,
)

#: Linux: the signal a process gets when its parent ends (sys/prctl.h).
_PR_SET_PDEATHSIG = 1
#: New objects after which a worker looks for cycles among them. A run's model has 10,000 and is
#: freed by its last reference (tests/unit/training/packed/test_freed_runs.py); at Python's 700 the
#: searches take nearly 1 % of a small study and find nothing worth having.
_YOUNG_OBJECTS = 50_000


class WorkerChannel:
    """The worker's end of the pipe: runs and answers come in, slots, progress and records go out.

    Iterating over it gives the runs to start, as ``interface.Feed`` says.

    Args:
        connection: To the pool.
        slots: Tells how many runs the engine would train at once.
        jobs: Runs that were received already.
    """

    def __init__(
        self, connection: Connection, slots: Callable[[], int], jobs: Iterable[RunJob] = ()
    ) -> None:
        self._connection = connection
        self._slots = slots
        self._told_slots = 1
        self._open: dict[str, RunJob] = {}  # with the engine
        self._jobs = deque(jobs)
        self._answers: dict[str, Decision] = {}

    def __iter__(self) -> Iterator[RunJob | None]:
        while True:
            self._tell_slots()
            try:
                while self._connection.poll() or not (self._jobs or self._open):
                    self._receive()
            except ControllerGoneError:
                if self._open:
                    raise
                return
            job = self._jobs.popleft() if self._jobs else None
            if job is not None:
                self._open[job.config.name] = job
            yield job

    def report(self, progress: Progress | Resumption) -> Decision:
        """Passes on an evaluation; waits for the answer if the run may still be pruned."""
        self._send(progress)
        if isinstance(progress, Resumption) or progress.is_last:
            return "continue"
        while progress.run not in self._answers:
            self._receive()
        return self._answers.pop(progress.run)

    def end(self, record: RunRecord) -> None:
        """Writes a run's record and passes it on; the engine hears of it if nobody listens."""
        job = self._open.pop(record.config.name)
        job.require_lease()
        write_record(job.folder, record)
        with suppress(ControllerGoneError):
            self._tell_slots()
            self._send(record)

    def _tell_slots(self) -> None:
        if self._slots() != self._told_slots:
            self._told_slots = self._slots()
            self._send(Slots(self._told_slots))

    def _send(self, message: Progress | Resumption | RunRecord | Slots) -> None:
        try:
            self._connection.send(message)
        except OSError as error:
            raise ControllerGoneError from error

    def _receive(self) -> None:
        try:
            message: RunJob | Answer = self._connection.recv()
        except (EOFError, OSError) as error:
            raise ControllerGoneError from error
        if isinstance(message, Answer):
            self._answers[message.run] = message.decision
        else:
            self._jobs.append(message)


def serve(connection: Connection, engine: Engine, jobs: Iterable[RunJob] = ()) -> None:
    """Trains the runs that come through ``connection`` until it is closed.

    Sends ``Slots`` whenever it changes, each ``Progress``, and each ``RunRecord`` once it is on
    disk; after an evaluation that is not a run's last it waits for the ``Answer``.

    Args:
        connection: To the pool.
        engine: What trains.
        jobs: Runs that were received already; they come first.
    """
    channel = WorkerChannel(connection, lambda: engine.slots, jobs)
    try:
        for record in engine.train(channel, channel.report):
            channel.end(record)
    except ControllerGoneError:
        return


def end_with_parent(parent: int, number: signal.Signals = signal.SIGTERM) -> None:
    """Has the kernel send this process a signal when its parent ends; Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:  # it ended before the line above
        sys.exit(1)


def _exit_on_term(number: int, frame: FrameType | None) -> None:
    """Unwinds the stack, so that temporary files are removed; the exit code is not zero."""
    sys.exit(128 + number)


def leave_out_bitsandbytes(*, needed: bool) -> None:
    """Keeps PEFT from importing bitsandbytes if the worker's unit does not need it.

    The import brings torch's compiler along and takes a fifth of a worker's start. None in
    ``sys.modules`` makes a module count as not installed (Python reference, 5.3.1), for
    ``find_spec`` too, by which PEFT and transformers look for it. A worker trains one unit only.
    """
    if not needed:
        sys.modules["bitsandbytes"] = None  # type: ignore[assignment]


def _launch(connection: Connection, machine: MachineSettings, first: RunJob) -> None:
    """Serves the pool by processes of several devices a run, then ends the process."""
    from phasewise.training.launching import LaunchingEngine
    from phasewise.training.saving import saving_on_term

    engine = LaunchingEngine(machine)
    try:
        with saving_on_term(engine.end):
            serve(connection, engine, [first])
    except WorkerError as error:
        sys.exit(str(error))  # the last line of the log, which the pool reads
    sys.exit(0)


def main() -> None:
    """Connects to the pool and serves it, then ends the process; see the module's docstring."""
    parent = os.getppid()
    signal.signal(signal.SIGTERM, _exit_on_term)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the controller, which decides
    end_with_parent(parent)
    connection = Connection(int(sys.argv[1]))
    machine = MachineSettings.model_validate_json(sys.argv[2])
    try:
        first: RunJob = connection.recv()
    except (EOFError, OSError):
        return
    if machine.gpus_per_run > 1:
        _launch(connection, machine, first)
    # Asking git takes 50 ms or more, and every record names the commit: done beside the imports.
    # Thread.start would wait for ever if memory did not suffice for the thread's first line.
    start_new_thread(describe_environment, ())
    unit = first.config.unit_config
    leave_out_bitsandbytes(needed=needs_bitsandbytes(unit.method, unit.training))  # before PEFT
    gc.disable()  # looking for garbage among new modules takes a seventh of their import
    from phasewise.training.auto_engine import AutoEngine
    from phasewise.training.saving import saving_on_term

    gc.enable()
    gc.set_threshold(_YOUNG_OBJECTS, *gc.get_threshold()[1:])
    engine = AutoEngine(machine)
    with saving_on_term(engine.end):
        serve(connection, engine, [first])
    sys.stdout.flush()
    os._exit(0)  # taking torch's modules apart would cost half a second, and frees nothing more


if __name__ == "__main__":
    main()
