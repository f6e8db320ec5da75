"""A unit's files on one machine, and how two machines' copies of it relate."""

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from phasewise.merging.listing import Entry
from phasewise.records import RECORD_FILE, RunRecord, open_unlinked
from phasewise.runs import Phase, UnitPaths
from phasewise.settings import Study
from phasewise.summaries import read_optimum
from phasewise.unit_runs import UnitRuns, read_runs

PHASES: tuple[Phase, ...] = ("phase0", "phase1", "phase2")
#: Of one machine's mirror; the records that it mirrors are what counts.
_MARKER = "wandb.json"

#: Notes of attempts that did not count: each machine's own.
_ATTEMPTS = ("record.failed", "record.late", "error.txt", "live.jsonl")

#: older, newer: one holds all that the other does, and more. joined: each has what the other has
#: not, and controllers of both shared the runs through the study's ``storage``. conflict: each has
#: what the other has not, without that; or they say different things.
Relation = Literal["same", "older", "newer", "joined", "conflict"]


def at(study: Study, root: Path) -> Study:
    """Returns the study as it lies in another clone."""
    settings = study.settings
    moved = settings.model_copy(
        update={
            "experiments_dir": root / settings.experiments_dir,
            "analysis_dir": root / settings.analysis_path,
        }
    )
    return Study(study.path, moved, study.tasks, study.methods, study.space)


@dataclass(frozen=True)
class UnitCopy:
    """One machine's copy of a unit."""

    source: str  # whose; "here" for this clone
    root: Path  # of the clone
    study: Study  # as it lies there
    task: str
    method: str
    files: tuple[str, ...]  # relative to the clone

    @property
    def label(self) -> str:
        """``task/method``."""
        return f"{self.task}/{self.method}"

    @cached_property
    def paths(self) -> UnitPaths:
        """Where its files lie."""
        return UnitPaths(self.study, self.task, self.method)

    @cached_property
    def runs(self) -> dict[Phase, UnitRuns]:
        """Its runs, by phase."""
        return {p: read_runs(self.study, self.task, self.method, phase=p) for p in PHASES}

    @property
    def records(self) -> list[RunRecord]:
        """Its runs of the present settings, of all phases."""
        return [record for runs in self.runs.values() for record in runs.records]

    @cached_property
    def digests(self) -> dict[str, str]:
        """File to the digest of its content."""
        return {file: digest(self.root / file) for file in self.files}


def digest(file: Path) -> str:
    """Returns the digest of a file's content; no link is followed.

    Raises:
        OSError: It cannot be read.
    """
    with open(file, "rb", opener=open_unlinked) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def collect_units(name: str, root: Path, files: Iterable[Entry], study: Study) -> list[UnitCopy]:
    """Returns the units of which a clone holds a file, in the study's order."""
    moved, names = at(study, root), [entry.path for entry in files]
    copies = []
    for task in study.tasks:
        for method in study.methods:
            paths = UnitPaths(study, task, method)
            folder, optimum = f"{paths.root.as_posix()}/", paths.optimum.as_posix()
            own = tuple(each for each in names if each.startswith(folder) or each == optimum)
            if own:
                copies.append(UnitCopy(name, root, moved, task, method, own))
    return copies


def relate(first: UnitCopy, second: UnitCopy) -> tuple[Relation, str]:
    """Returns how the second copy relates to the first, and the file that tells a conflict.

    Records never change, and a journal only grows; a phase's own file is written anew.
    """
    against, back = _find_lost(first, second), _find_lost(second, first)
    if against and back:
        if first.study.settings.storage is None:
            return "conflict", against
        differs = _find_difference(first, second)
        return ("conflict", differs) if differs else ("joined", "")
    if against:
        return "older", ""
    if back:
        return "newer", ""
    derived = [file for file in first.files if _is_derived(first, file)]
    for file in derived:
        if _read_derived(first.root / file) != _read_derived(second.root / file):
            return "conflict", file
    return "same", ""


def _find_lost(older: UnitCopy, newer: UnitCopy) -> str:
    """Returns a file of ``older`` that ``newer`` lacks or has with other content; empty if none."""
    redone = [os.path.dirname(file) for file in older.files if _was_redone(older, newer, file)]
    for file, found in older.digests.items():
        other = newer.digests.get(file)
        if found == other or file.endswith(f"/{_MARKER}") or file == _running(older):
            continue
        if os.path.dirname(file) in redone or (other and _is_derived(older, file)):
            continue
        if other and file == _journal(older) and _is_prefix(older.root / file, newer.root / file):
            continue
        return file
    return ""


def _find_difference(first: UnitCopy, second: UnitCopy) -> str:
    """Returns a file that both have with other content, but for notes; empty if none."""
    for file in first.files:
        theirs = second.digests.get(file)
        if theirs in (None, first.digests[file]) or file.endswith(f"/{_MARKER}"):
            continue
        if file == _running(first) or os.path.basename(file).startswith(_ATTEMPTS):
            continue
        if _is_derived(first, file) and (
            _read_derived(first.root / file) == _read_derived(second.root / file)
        ):
            continue
        return file
    return ""


def _running(copy: UnitCopy) -> str:
    """The optimum of a search that still runs: written anew after each trial."""
    return copy.paths.running_optimum.relative_to(copy.root).as_posix()


def _journal(copy: UnitCopy) -> str:
    return copy.paths.storage.relative_to(copy.root).as_posix()


def _is_derived(copy: UnitCopy, file: str) -> bool:
    paths = copy.paths
    derived = (*map(paths.summary, PHASES), paths.optimum, paths.running_optimum)
    return copy.root / file in derived


def _was_redone(older: UnitCopy, newer: UnitCopy, file: str) -> bool:
    """Whether a record is of a failed run that was tried again; see ``run_records.find_record``."""
    if not file.endswith(f"/{RECORD_FILE}") or newer.digests.get(file) == older.digests[file]:
        return False
    folder = file.removesuffix(RECORD_FILE)
    kept = [each for each in newer.files if each.startswith(f"{folder}record.failed-")]
    return older.digests[file] in [newer.digests[each] for each in kept]


def _is_prefix(shorter: Path, longer: Path) -> bool:
    """Whether a journal goes on where another ends; that one's last line may be torn."""
    content = shorter.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    return longer.read_bytes().startswith(whole)


def _read_derived(file: Path) -> Any:
    """Returns what a phase's file says, without where that was worked out."""
    if file.suffix == ".json":
        return json.loads(file.read_bytes())
    found = read_optimum(file)
    return found and found.model_copy(update={"provenance": {}})
