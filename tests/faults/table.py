"""Every line of the table by its name."""

import signal
from collections.abc import Callable

from faults import disks, lines, merging, shared, slurm
from faults.lines import Bench, Row, through_many

_KILL, _TERM = signal.SIGKILL, signal.SIGTERM


def _under_way(inflict: lines.Inflict, *, alone: bool = False) -> Callable[[Bench], Row]:
    return lambda bench: through_many(
        bench,
        inflict,
        start=lambda study: study.start(alone=alone),
        seconds=2 * bench.seconds if alone else None,  # its own imports
    )


def _wild(bench: Bench) -> Row:
    return through_many(bench, lines.send(_KILL), make=lambda: bench.world.study(space="wild.yaml"))


def _saving(bench: Bench) -> Row:
    return through_many(
        bench,
        lines.send(_KILL),
        make=lambda: bench.world.study(**disks.SAVING),
        seconds=2 * bench.seconds,
    )


def _snakemake(inflict: lines.Inflict) -> Callable[[Bench], Row]:
    return lambda bench: through_many(
        bench,
        inflict,
        start=lines.start_snakemake,
        between=lines.unlock,
        seconds=6 * bench.seconds,
    )


LINES: dict[str, Callable[[Bench], Row]] = {
    "controller killed": _under_way(lines.send(_KILL)),
    "controller TERM": _under_way(lines.send(_TERM)),
    "worker killed": _under_way(lines.send_worker(_KILL)),
    "worker TERM": _under_way(lines.send_worker(_TERM)),
    "worker server killed": _under_way(lines.send_server(_KILL), alone=True),
    "worker server TERM": _under_way(lines.send_server(_TERM), alone=True),
    "all processes killed": _under_way(lines.send_all(_KILL), alone=True),
    "all processes TERM": _under_way(lines.send_all(_TERM), alone=True),
    "memory limit of a worker": _under_way(lines.limit_memory),
    "losses of NaN, controller killed": _wild,
    "runs that save themselves, controller killed": _saving,
    "disk full": disks.fill_all,
    "disk full, runs that save themselves": lambda bench: disks.fill_all(bench, **disks.SAVING),
    "disk full at a record": disks.fill_record,
    "disk full at a checkpoint": lambda bench: disks.fill_record(bench, **disks.SAVING),
    "disk full at the optimum": disks.fill_optimum,
    "disk full at the journal": disks.fill_journal,
    "journal with a torn last line": lines.damage_journal("torn"),
    "journal with a complete last line of garbage": lines.damage_journal("garbage"),
    "record truncated": lines.damage("truncated"),
    "record empty": lines.damage("empty"),
    "record garbled": lines.damage("garbled"),
    "clock set back": lines.clock_back,
    "two controllers at once": _under_way(lines.second_controller),
    "snakemake killed": _snakemake(lines.send(_KILL)),
    "snakemake killed, unlocked while its jobs live": _snakemake(lines.unlock_while_jobs_live),
    "snakemake TERM": _snakemake(lines.stop_snakemake),
    "merge killed": merging.kill_merge,
    **shared.lines(),
    **slurm.lines(),
}
