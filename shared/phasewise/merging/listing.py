"""What a source holds, before any of it is read: names, kinds and sizes, and what is refused."""

import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

from phasewise.checkpoints import CHECKPOINTS_FOLDER
from phasewise.errors import ConfigError
from phasewise.records import LIVE_FILE
from phasewise.runs import UnitPaths, ledger_path, task_baselines_path
from phasewise.settings import Study

#: Only files are brought; links and devices are refused where results would be.
Kind = Literal["file", "folder", "link", "device"]

#: Files that are read whole: a record with its curves has some 10 kB.
_TEXTS = {".json", ".jsonl", ".yaml", ".log"}
_MOST_TEXT_BYTES = 64_000_000
#: A study of 100 units with 100 runs has some 30,000 files.
_MOST_FILES = 500_000
#: Of a machine that works, or worked: they say nothing about a result.
_LEFT_OUT = {"controller.lock", "workers.log", LIVE_FILE, CHECKPOINTS_FOLDER}


class Entry(NamedTuple):
    """A file, folder or something else in a source."""

    path: str  # relative to the clone, with /
    kind: Kind
    size: int = 0  # bytes


@dataclass(frozen=True)
class Listing:
    """The results in a source, and what is wrong with them."""

    files: tuple[Entry, ...]
    prefix: str  # folder of the source that stands for the clone; empty: the source itself
    problems: tuple[str, ...]


class ResultPaths:
    """Where a study's results lie in a clone.

    Raises:
        ConfigError: The study writes outside of its clone, so that no other clone has the folder.
    """

    def __init__(self, study: Study) -> None:
        settings = study.settings
        for key in ("experiments_path", "analysis_path"):
            folder: Path = getattr(settings, key)
            if folder.is_absolute() or {"..", "~"} & set(folder.parts):
                raise ConfigError(
                    f"{study.path}: {key.replace('_path', '_dir')}: expected a folder below the "
                    f"clone, got {folder}: other machines' clones are looked through for it"
                )
        self.roots: list[str] = []
        files: list[Path] = []
        for task in study.tasks:
            files += [task_baselines_path(study, task), ledger_path(study, task)]
            for method in study.methods:
                paths = UnitPaths(study, task, method)
                files.append(paths.optimum)
                self.roots.append(paths.root.as_posix())
        files.append(settings.experiments_path / "study.json")
        self.files = {file.as_posix() for file in files}
        places = [PurePosixPath(place) for place in (*self.files, *self.roots)]
        self.folders = {parent.as_posix() for place in places for parent in place.parents}

    def holds(self, path: str) -> bool:
        """Whether a path is a result's; the machine's own files beside them are not."""
        if path in self.files:
            return True
        root = next((root for root in self.roots if path.startswith(f"{root}/")), None)
        return root is not None and not any(map(_is_left_out, path[len(root) + 1 :].split("/")))

    def leads_to(self, path: str) -> bool:
        """Whether results lie at or below a path."""
        return path in self.folders or path in self.roots or self.holds(path)


def _is_left_out(name: str) -> bool:
    """Whether it is a lock, half written, or of a search that was set aside."""
    return name.startswith(".") or name in _LEFT_OUT or name.endswith(".lock") or ".old-" in name


def list_folder(root: Path, places: ResultPaths) -> Iterator[Entry]:
    """Yields what lies at the places of results below a folder; no link is followed."""
    pending = [""]
    while pending:
        folder = pending.pop()
        with os.scandir(root / folder) as found:
            for each in sorted(found, key=lambda each: each.name):
                entry = _describe(each, f"{folder}/{each.name}".lstrip("/"))
                if not places.leads_to(entry.path):
                    continue
                yield entry
                if entry.kind == "folder":
                    pending.append(entry.path)


def _describe(found: "os.DirEntry[str]", path: str) -> Entry:
    if found.is_symlink():
        return Entry(path, "link")
    if found.is_dir(follow_symlinks=False):
        return Entry(path, "folder")
    if found.is_file(follow_symlinks=False):
        return Entry(path, "file", found.stat(follow_symlinks=False).st_size)
    return Entry(path, "device")


def examine(
    entries: Iterable[Entry], places: ResultPaths, *, most_bytes: float = math.inf
) -> Listing:
    """Returns the results among a source's entries; stops at the first sign of a bomb.

    Args:
        entries: All of the source's; may be endless.
        places: Of the study's results.
        most_bytes: That all entries may have together; no limit for what is here already.
    """
    known: dict[str, Entry] = {}
    problems: list[str] = []
    size = 0
    for entry in entries:
        size += entry.size
        if size > most_bytes or len(known) >= _MOST_FILES:
            limit = f"{_MOST_FILES} files" if size <= most_bytes else f"{most_bytes / 1e9:g} GB"
            problems.append(f"more than {limit}: raise --max-gb if it is meant to be so large")
            break
        if wrong := _find_fault(entry, known):
            problems.append(wrong)
            continue
        path = PurePosixPath(entry.path).as_posix()
        known[path] = entry._replace(path=path)
    prefix = _find_prefix(known, places)
    files = []
    for path, entry in known.items():
        if not path.startswith(prefix) or not places.leads_to(path := path[len(prefix) :]):
            continue
        if entry.kind in ("link", "device"):
            problems.append(f"{show(path)}: expected a file or a folder, got a {entry.kind}")
        elif entry.kind == "file" and places.holds(path):
            files.append(entry._replace(path=path))
            if PurePosixPath(path).suffix in _TEXTS and entry.size > _MOST_TEXT_BYTES:
                problems.append(f"{show(path)}: {entry.size / 1e6:.0f} MB, too large for its kind")
    return Listing(tuple(files), prefix, tuple(problems))


def _find_fault(entry: Entry, known: dict[str, Entry]) -> str:
    """Returns what is wrong with a name, wherever it leads; empty if nothing."""
    path = PurePosixPath(entry.path)
    if path.is_absolute() or ".." in path.parts:
        return f"{show(entry.path)}: leads out of the source"
    if not entry.path.isprintable() or "\\" in entry.path:
        return f"{show(entry.path)}: a name that no step of a study writes"
    if entry.kind != "folder" and path.as_posix() in known:
        return f"{show(entry.path)}: is there twice"
    return ""


def _find_prefix(known: Iterable[str], places: ResultPaths) -> str:
    """Returns the top folder that an archive of a whole clone has, with its /; else nothing."""
    tops = {path.split("/", 1)[0] for path in known if path != "."}
    if any(places.leads_to(top) for top in tops) or len(tops) != 1:
        return ""
    return f"{tops.pop()}/"


def show(path: str) -> str:
    """Returns a path as one printable line."""
    return path if path.isprintable() else ascii(path)[1:-1]
