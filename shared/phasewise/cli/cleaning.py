"""``phasewise gc``: frees the checkpoints that nobody needs; and what ``plan`` says of them."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import typer

from phasewise.checkpoints import (
    CHECKPOINTS_FOLDER,
    KEPT_CHECKPOINTS,
    free_checkpoints,
    iterate_checkpointed,
)
from phasewise.cli.options import DEFAULT_STUDY, ShardOption, StudyOption, load_owned
from phasewise.errors import RecordError
from phasewise.records import RunRecord, read_record
from phasewise.runs import UnitPaths
from phasewise.settings import ALL_SHARD, Study
from phasewise.training.ranks import RANKS_KEY
from phasewise.unit_runs import read_runs

AllOption = Annotated[
    bool, typer.Option("--all", help="Those of unfinished runs too, which then start anew.")
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", "-n", help="Only print them.")]
#: Beginnings of what a killed process leaves of a file or folder it was writing.
_HALF_WRITTEN = (".record.json.", ".checkpoint.json.", ".model.")
#: AdamW's two moments, as large as what trains.
_MOMENTS = 2
_BYTES_PER_WEIGHT = 4  # saved weights are float32
_GB = 1e9

Why = Literal["its run has ended", "of other settings", "half written", "its run is not finished"]


class _Leftover(NamedTuple):
    """Something that takes disk and is no result."""

    path: Path
    why: Why


def gc(
    study: StudyOption = DEFAULT_STUDY,
    vm: ShardOption = ALL_SHARD,
    everything: AllOption = False,
    dry_run: DryRunOption = False,
) -> None:
    """Free the disk that checkpoints take which no run will go on from."""
    loaded = load_owned(study)
    freed = 0
    for task, method in loaded.units_of(vm):
        freed += _clean_unit(loaded, task, method, everything=everything, dry_run=dry_run)
    typer.echo(f"{freed / _GB:.3f} GB {'would be freed' if dry_run else 'freed'}")


def _clean_unit(study: Study, task: str, method: str, *, everything: bool, dry_run: bool) -> int:
    """Returns the bytes that a unit has to spare; a unit at work is left alone."""
    from phasewise.tuning.locking import hold_lock
    from phasewise.tuning.stopping import BusyError, StopFlag, WaitLimit

    paths = UnitPaths(study, task, method)
    if not paths.root.is_dir():
        return 0
    freed = 0
    try:
        with hold_lock(paths.lock, typer.echo, WaitLimit(StopFlag(), minutes=0)):
            for path, why in _list_leftovers(paths.root):
                spare = everything or why != "its run is not finished"
                size = sum(file.lstat().st_size for file in (path, *path.rglob("*")))
                typer.echo(f"{path}: {size / _GB:.3f} GB, {why}{'' if spare else ': kept'}")
                freed += size if spare else 0
                if spare and not dry_run:
                    _remove(path)
    except BusyError:
        typer.echo(f"{task}/{method}: left alone, it is at work")
    return freed


def _list_leftovers(root: Path) -> Iterator[_Leftover]:
    for run in iterate_checkpointed(root):
        yield _Leftover(run / CHECKPOINTS_FOLDER, _judge(run, root))
    for path in sorted(root.rglob(".*")):
        if path.name.startswith(_HALF_WRITTEN):
            yield _Leftover(path, "half written")


def _judge(run: Path, root: Path) -> Why:
    """Returns why a run's checkpoints are there."""
    if any(".old-" in part for part in run.relative_to(root).parts):
        return "of other settings"
    try:
        record = read_record(run)
    except RecordError:
        record = None
    ended = record is not None and record.status != "failed"  # one that failed is tried again
    return "its run has ended" if ended else "its run is not finished"


def _remove(path: Path) -> None:
    if path.name == CHECKPOINTS_FOLDER:
        free_checkpoints(path.parent)
    elif path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def describe_checkpoints(study: Study, units: list[tuple[str, str]]) -> list[str]:
    """Returns how much disk checkpoints take at most, where Phase 0 has measured a unit."""
    machine = study.settings.machine
    minutes = machine.checkpoint_minutes
    if minutes is None or machine.deepspeed_config:
        return []
    sizes = {f"{task}/{method}": _checkpoint_gb(study, task, method) for task, method in units}
    known = [f"{unit} {size:.2f} GB" for unit, size in sizes.items() if size is not None]
    line = (
        f"checkpoints: of runs longer than {minutes:g} min, {KEPT_CHECKPOINTS} at most for each "
        "that is under way"
    )
    return [f"{line}, together {', '.join(known)}" if known else f"{line}; Phase 0 measures them"]


def _checkpoint_gb(study: Study, task: str, method: str) -> float | None:
    """Returns what the checkpoints of one run take; None before Phase 0 has measured one."""
    records = read_runs(study, task, method, phase="phase0").records
    sizes = [_checkpoint_bytes(record) for record in records if record.cost is not None]
    return KEPT_CHECKPOINTS * max(sizes) / _GB if sizes else None


def _checkpoint_bytes(record: RunRecord) -> int:
    """Returns the size of one checkpoint: weights that train, or all of a model, and moments."""
    assert record.cost is not None
    trained = record.cost.trainable_parameters * _BYTES_PER_WEIGHT
    alone = record.environment.get("engine") == "trainer"
    by_parts = "FSDP" in record.environment.get(RANKS_KEY, "")  # which are of what trains
    whole = alone and not by_parts and not record.config.unit_config.method.trains_adapter
    saved = record.cost.total_parameters * _BYTES_PER_WEIGHT if whole else trained
    return saved + _MOMENTS * trained
