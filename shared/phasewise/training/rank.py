"""A rank: one of the processes that train a run together; ends with its run.

Started by ``LaunchingEngine`` as ``python -m phasewise.training.rank FD MACHINE_JSON``.
"""

import os
import signal
import sys
from multiprocessing.connection import Connection
from threading import Thread

from phasewise.provenance import describe_environment
from phasewise.settings import MachineSettings
from phasewise.training.choice import needs_bitsandbytes
from phasewise.training.interface import ControllerGoneError, Decision, Progress, Resumption
from phasewise.training.ranks import CONTROLLER_GONE_EXIT, PEER_LOST_EXIT, Ranks, RankTask
from phasewise.training.saving import DecidedElsewhere, saving_on_term
from phasewise.training.worker import end_with_parent, leave_out_bitsandbytes


class _Launcher:
    """What the launcher is told and asked, on behalf of all ranks.

    Args:
        pipe: To the launcher.
        rank: This process's.
    """

    def __init__(self, pipe: Connection, rank: int) -> None:
        self._pipe, self._rank = pipe, rank

    def report(self, progress: Progress | Resumption) -> Decision:
        """Returns the decision on an evaluation, of which the first rank tells for all.

        Raises:
            ControllerGoneError: Nobody listens any more; on all ranks.
        """
        from torch.distributed import broadcast_object_list

        decision: list[Decision | None] = ["continue"]
        if self._rank == 0:
            decision = [self._ask(progress)]
        if isinstance(progress, Resumption):  # ranks cannot reach each other yet
            return "continue"
        broadcast_object_list(decision, src=0)
        if decision[0] is None:
            raise ControllerGoneError
        return decision[0]

    def _ask(self, progress: Progress | Resumption) -> Decision | None:
        """Returns the launcher's answer; None: nobody listens."""
        try:
            self._pipe.send(progress)
            answer: Decision | None = "continue"
            if isinstance(progress, Progress):
                answer = self._pipe.recv()
        except (EOFError, OSError):
            return None
        return answer


def main() -> None:
    """Trains the run that the launcher sends and returns its record; see the module's docstring."""
    end_with_parent(os.getppid(), signal.SIGKILL)  # one in a collective call heeds no other signal
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    pipe = Connection(int(sys.argv[1]))
    machine = MachineSettings.model_validate_json(sys.argv[2])
    task: RankTask = pipe.recv()
    Thread(target=describe_environment, daemon=True).start()  # see worker.main
    unit = task.job.config.unit_config
    leave_out_bitsandbytes(needed=needs_bitsandbytes(unit.method, unit.training))
    rank, count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    from phasewise.training.failures import is_peer_lost
    from phasewise.training.trainer_engine import TrainerEngine
    from phasewise.training.warm import prepare_machine

    ranks = Ranks(rank, count, machine.fsdp_config, machine.deepspeed_config, pipe)
    engine = TrainerEngine(machine, prepare_machine(machine, ranks))
    if not ranks.writes:  # the first rank's clock is that of all
        engine.end.enter(DecidedElsewhere())
    report = _Launcher(pipe, rank).report
    try:
        with saving_on_term(engine.end):
            pipe.send(engine.train_run(task.job, report, task.reported_until, task.most_rows))
    except ControllerGoneError:
        sys.exit(CONTROLLER_GONE_EXIT)
    except Exception as error:
        if is_peer_lost(error):
            sys.exit(PEER_LOST_EXIT)
        raise
    sys.stdout.flush()
    os._exit(0)  # see worker.main


if __name__ == "__main__":
    main()
