"""Follows a study's files: what has not changed is neither read nor drawn again."""

import os
from collections.abc import Iterator
from pathlib import Path
from threading import RLock
from typing import NamedTuple

from phasewise.dashboard.board import Board, UnitBoard, build_board, build_unit
from phasewise.errors import PhasewiseError
from phasewise.live import LiveRun
from phasewise.records import LIVE_FILE, RECORD_FILE
from phasewise.report.evidence import PHASES, UnitEvidence, gather_evidence
from phasewise.report.status import (
    CountedUnit,
    UnitStatus,
    count_unit,
    estimate_left,
    find_live,
    is_locked,
)
from phasewise.runs import UnitPaths, hash_content
from phasewise.settings import load_study


class _Seen(NamedTuple):
    """A unit as it was read."""

    version: str
    counted: CountedUnit
    evidence: UnitEvidence
    live: tuple[LiveRun, ...]


class StudyWatch:
    """A study that is looked at again and again.

    Args:
        path: The study's file, or its name.

    Raises:
        ConfigError: The study cannot be read; later it is kept as it was, with a note.
    """

    def __init__(self, path: Path) -> None:
        self._asked = path
        self.study = load_study(path)
        self._read = self._stamp()
        self._note = ""
        self._seen: dict[tuple[str, str], _Seen] = {}
        self._boards: dict[tuple[str, str], tuple[object, UnitBoard]] = {}
        self._lock = RLock()  # requests are served by threads

    @property
    def name(self) -> str:
        """Of the study."""
        return self.study.settings.name

    def board(self) -> Board:
        """Returns the study as it stands now."""
        with self._lock:
            self._reload()
            units = self.study.units_of("all")
            seen = [self._look(*unit) for unit in units]
            statuses = estimate_left([each.counted for each in seen])
            boards = [
                self._build(each, status) for each, status in zip(seen, statuses, strict=True)
            ]
            evidence = [each.evidence for each in seen]
            return build_board(self.study, boards, evidence, self._note)

    def unit(self, task: str, method: str) -> UnitEvidence:
        """Returns what a unit has left so far; it is one of the study's."""
        with self._lock:
            return self._look(task, method).evidence

    def _build(self, seen: _Seen, status: UnitStatus) -> UnitBoard:
        unit, key = seen.evidence, (seen.version, status)
        known = self._boards.get((unit.task, unit.method))
        if known is None or known[0] != key:
            built = build_unit(self.study, unit, status, seen.live, seen.version)
            known = self._boards[unit.task, unit.method] = key, built
        return known[1]

    def _look(self, task: str, method: str) -> _Seen:
        paths = UnitPaths(self.study, task, method)
        version = hash_content([*_list_stamps(paths), is_locked(paths.lock), str(self._read)])
        seen = self._seen.get((task, method))
        if seen is None or seen.version != version:
            (found,) = gather_evidence(self.study, [(task, method)])
            counted = count_unit(self.study, task, method)
            seen = _Seen(version, counted, found.units[0], tuple(find_live(paths)))
            self._seen[task, method] = seen
        return seen

    def _stamp(self) -> float:
        return self.study.path.stat().st_mtime if self.study.path.exists() else 0.0

    def _reload(self) -> None:
        """An edited study is read again; one that cannot be is kept as it was."""
        stamp = self._stamp()
        if stamp == self._read:
            return
        self._read, self._note = stamp, ""
        try:
            self.study = load_study(self._asked)
        except (PhasewiseError, OSError) as error:
            self._note = f"shown as it was read before: {error}"


def _list_stamps(paths: UnitPaths) -> Iterator[tuple[str, int, int]]:
    """Yields path, time and size of every file that tells how far a unit is."""
    for path in (*map(paths.summary, PHASES), paths.optimum, paths.running_optimum):
        yield from _stamp(path)
    for phase in PHASES:
        try:
            runs = sorted(entry.path for entry in os.scandir(paths.root / phase))
        except OSError:
            continue
        for run in runs:
            for name in (RECORD_FILE, LIVE_FILE):
                yield from _stamp(Path(run, name))


def _stamp(path: Path) -> Iterator[tuple[str, int, int]]:
    try:
        found = path.stat()
    except OSError:
        return
    yield str(path), found.st_mtime_ns, found.st_size
