"""Bringing files over: each whole or not at all, with its times, what others rest on first."""

import json
import os
import platform
import shutil
import tempfile
from collections import Counter
from pathlib import Path

from phasewise.merging.manifest import UnitSource, describe_source, note_source
from phasewise.merging.planning import MergePlan, UnitStep
from phasewise.merging.sources import Source
from phasewise.merging.units import UnitCopy, at, digest
from phasewise.records import RECORD_FILE, open_unlinked, refuse_links, write_atomically
from phasewise.runs import UnitPaths, ledger_path, task_baselines_path
from phasewise.settings import Study
from phasewise.steps import claim_folder
from phasewise.tuning.locking import Lease, Say, hold_lock
from phasewise.tuning.stopping import StopFlag


def carry_out(study: Study, plan: MergePlan, say: Say) -> None:
    """Brings over what a plan without problems says; cut off, the next call goes on.

    Args:
        study: The study as this clone has it.
        plan: From ``plan_merge``.
        say: Gets a line for each unit that waits for a controller.

    Raises:
        RecordError: A folder here is a link.
        OSError: A file cannot be read or written.
        StoppedError: By a signal.
    """
    claim_folder(study)
    with StopFlag() as stop:
        for source, task in plan.tasks:
            _bring_task(study, source, task)
        for step in plan.units:
            if step.action in ("new", "updated", "joined"):
                paths = UnitPaths(study, step.copy.task, step.copy.method)
                refuse_links(paths.root.parent, paths.root)
                with hold_lock(paths.lock, say, stop) as lease:
                    _bring_unit(step, stop, lease)
            if step.action != "older" and step.copy.records and not _is_own(step):
                note_source(study, _describe(step))


def _is_own(step: UnitStep) -> bool:
    """Whether a source has a copy of what this machine itself has run."""
    hosts = {record.environment.get("host") for record in step.copy.records}
    return step.action == "same" and hosts == {platform.node()}


def _describe(step: UnitStep) -> UnitSource:
    copy = step.copy
    return describe_source(copy.task, copy.method, copy.source, copy.records)


def _bring_unit(step: UnitStep, stop: StopFlag, lease: Lease) -> None:
    """Copies a unit's files; the record of a run comes after what it stands for, phases last."""
    copy = step.copy
    for file in sorted(copy.files, key=lambda file: _rank(copy, file)):
        stop.check()
        lease.check()
        if step.action != "joined" or not Path(file).exists():
            copy_file(copy.root / file, Path(file), known=copy.digests[file])


def _rank(copy: UnitCopy, file: str) -> tuple[int, str]:
    path = copy.root / file
    if path == copy.paths.optimum or path.parent == copy.paths.root:
        return 2, file
    return int(path.name == RECORD_FILE), file


def _bring_task(study: Study, source: Source, task: str) -> None:
    """Copies a task's baselines, and adds the lines of its ledger that are not here."""
    moved = at(study, source.root)
    baselines = task_baselines_path(moved, task)
    if baselines.is_file():
        copy_file(baselines, task_baselines_path(study, task), known=digest(baselines))
    theirs, ours = ledger_path(moved, task), ledger_path(study, task)
    if theirs.is_file():
        refuse_links(ours.parent, ours)
        _add_lines(theirs, ours)


def _add_lines(theirs: Path, ours: Path) -> None:
    """Every opening stands in the ledger once, in the order of time."""
    if not ours.is_file():
        copy_file(theirs, ours, known=digest(theirs))
        return
    own, other = _read_lines(ours), _read_lines(theirs)
    added = Counter(other) - Counter(own)
    if added:
        lines = sorted(
            (*own, *added.elements()), key=lambda line: str(json.loads(line).get("time", ""))
        )
        write_atomically(ours, "".join(f"{line}\n" for line in lines))


def _read_time(line: str) -> str:
    return str(json.loads(line).get("time", ""))


def _read_lines(ledger: Path) -> list[str]:
    return [line for line in ledger.read_text(encoding="utf-8").split("\n") if line]


def copy_file(source: Path, target: Path, *, known: str) -> None:
    """Copies a file with its times, atomically; one that is here already is left alone.

    Raises:
        OSError: Either cannot be read or written, or the source is not what was checked.
        RecordError: Either is a link.
    """
    refuse_links(target.parent, target)
    if target.is_file() and digest(target) == known:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with open(source, "rb", opener=open_unlinked) as read, os.fdopen(handle, "wb") as written:
            shutil.copyfileobj(read, written)
            written.flush()
            os.fsync(written.fileno())
            status = os.fstat(read.fileno())
        if digest(Path(temporary)) != known:
            raise OSError(0, "changed while it was read; run the same command again", str(source))
        os.utime(temporary, ns=(status.st_atime_ns, status.st_mtime_ns))
        os.chmod(temporary, 0o644)
        os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
