"""Checkpoints: what a long run saves on its way, so that it goes on after any end of its process.

``<run>/checkpoints/checkpoint-<step>/`` holds an engine's files and a manifest that names each with
its digest. The manifest is written last, so a folder without one was cut off. All of it is
safetensors and JSON, but for what transformers' Trainer writes, which it reads as weights only.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from phasewise.records import refuse_links, write_json
from phasewise.runs import hash_content

CHECKPOINTS_FOLDER = "checkpoints"
MANIFEST_FILE = "checkpoint.json"
#: Of a run, the one that is being written included: a damaged one has one behind it.
KEPT_CHECKPOINTS = 2
_PREFIX = "checkpoint-"
_DIGEST = "digest"
#: What reading a damaged manifest raises.
_DAMAGES = (OSError, ValueError, KeyError, TypeError, AttributeError)

#: Writes the files of a checkpoint into a folder.
WriteFiles = Callable[[Path], None]


class Writers(Protocol):
    """The processes that write one checkpoint together."""

    @property
    def writes(self) -> bool:
        """Whether this one makes room for it, and writes its manifest."""
        ...

    def each(self, part: Callable[[], None]) -> None:
        """Does this one's part; raises in all of them once one of them could not do its own."""
        ...


class _Alone(NamedTuple):
    """A process that writes its checkpoints by itself."""

    writes: bool = True

    def each(self, part: Callable[[], None]) -> None:
        part()


_ALONE = _Alone()


class Checkpoint(NamedTuple):
    """A good checkpoint."""

    folder: Path
    step: int
    """Optimizer steps done."""
    state: dict[str, Any]
    """What its engine noted, JSON."""


class FoundCheckpoint(NamedTuple):
    """The newest good checkpoint of a run, and what was wrong with newer ones."""

    checkpoint: Checkpoint | None
    warnings: tuple[str, ...]


def write_checkpoint(
    run: Path,
    step: int,
    owner: str,
    state: dict[str, Any],
    write: WriteFiles,
    *,
    writers: Writers = _ALONE,
) -> Checkpoint:
    """Writes a checkpoint; the oldest make way first, so that there are never more than are kept.

    Args:
        run: The run's folder.
        step: Optimizer steps done.
        owner: What it is of, and how it was made; one of another owner is removed.
        state: What is no tensor; JSON.
        write: Writes the rest into a folder that exists; each process its own files.
        writers: This process among those that write it, all of which call this.

    Raises:
        OSError: The disk is full, or anything else that ``write`` raises, be it in another process;
            nothing of it is left.
    """
    folder = run / CHECKPOINTS_FOLDER / f"{_PREFIX}{step}"

    def make_room() -> None:
        if writers.writes:
            _make_room(folder, run, owner)

    def seal() -> None:
        if writers.writes:
            content = {"owner": owner, "step": step, "state": state, "files": _digest_files(folder)}
            write_json(folder / MANIFEST_FILE, {**content, _DIGEST: hash_content(content)})

    try:
        writers.each(make_room)
        writers.each(partial(write, folder))
        writers.each(seal)
    except BaseException:
        # One that is whole is good, whatever became of another process since.
        if writers.writes and not (folder / MANIFEST_FILE).is_file():
            shutil.rmtree(folder, ignore_errors=True)
        raise
    return Checkpoint(folder, step, state)


def find_checkpoint(run: Path, owner: str) -> FoundCheckpoint:
    """Returns the newest good checkpoint of a run; one that is not is told of and passed over.

    Args:
        run: The run's folder.
        owner: As it was written; a checkpoint of another owner is none.
    """
    warnings = []
    for folder in list_checkpoints(run):
        try:
            content = _read_manifest(folder)
            if content["owner"] != owner:
                continue
            _check_files(folder, content["files"])
        except _DAMAGES as error:
            warnings.append(f"{folder}: damaged, passed over: {error}")
            continue
        found = Checkpoint(folder, content["step"], content["state"])
        return FoundCheckpoint(found, tuple(warnings))
    return FoundCheckpoint(None, tuple(warnings))


def list_checkpoints(run: Path) -> list[Path]:
    """Returns the folders of a run's checkpoints, good or not, the newest first."""
    root = run / CHECKPOINTS_FOLDER
    if root.is_symlink() or not root.is_dir():
        return []
    found = [
        folder
        for folder in root.glob(f"{_PREFIX}*")
        if folder.name.removeprefix(_PREFIX).isdigit()
        and folder.is_dir()
        and not folder.is_symlink()
    ]
    return sorted(found, key=lambda folder: -int(folder.name.removeprefix(_PREFIX)))


def newest_whole(run: Path) -> str:
    """Returns the name of a run's newest checkpoint that was written to its end, or nothing."""
    whole = (f.name for f in list_checkpoints(run) if (f / MANIFEST_FILE).is_file())
    return next(whole, "")


def newest_owner(run: Path) -> str:
    """Returns whose the newest checkpoint is that was written to its end; empty: there is none."""
    for folder in list_checkpoints(run):
        try:
            return str(_read_manifest(folder)["owner"])
        except _DAMAGES:
            continue
    return ""


def free_checkpoints(run: Path) -> None:
    """Removes a run's checkpoints: it has ended, and what it left is in its record."""
    root = run / CHECKPOINTS_FOLDER
    if root.is_dir() and not root.is_symlink():
        shutil.rmtree(root, ignore_errors=True)


def iterate_checkpointed(root: Path) -> Iterator[Path]:
    """Yields the folders of runs below ``root`` that hold checkpoints, in path order."""
    for folder in sorted(root.rglob(CHECKPOINTS_FOLDER)):
        if folder.is_dir() and not folder.is_symlink():
            yield folder.parent


def _make_room(folder: Path, run: Path, owner: str) -> None:
    """Makes a checkpoint's folder, after the removal of all that are one too many with it."""
    refuse_links(run / CHECKPOINTS_FOLDER)
    others = [other for other in list_checkpoints(run) if other != folder]
    kept = [other for other in others if _is_whole(other, owner)][: KEPT_CHECKPOINTS - 1]
    for other in (folder, *(other for other in others if other not in kept)):
        shutil.rmtree(other, ignore_errors=True)
    folder.mkdir(parents=True)


def _is_whole(folder: Path, owner: str) -> bool:
    """Whether a checkpoint is this owner's and was written to its end."""
    try:
        return bool(_read_manifest(folder)["owner"] == owner)
    except _DAMAGES:
        return False


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST_FILE
    if not path.is_file():
        raise ValueError("it was cut off while it was written")
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if content.pop(_DIGEST) != hash_content(content):
        raise ValueError(f"{MANIFEST_FILE} does not give its digest")
    return content


def _check_files(folder: Path, digests: dict[str, str]) -> None:
    """Refuses a checkpoint whose files are not the very ones that were written.

    Raises:
        ValueError: One is missing, additional, altered or a link.
        OSError: One cannot be read.
    """
    found = {path.name for path in folder.iterdir()} - {MANIFEST_FILE}
    if found != set(digests):
        raise ValueError(f"expected {', '.join(sorted(digests))}; got {', '.join(sorted(found))}")
    for name, digest in digests.items():
        if (folder / name).is_symlink() or _digest(folder / name) != digest:
            raise ValueError(f"{name} does not give its digest")


def _digest_files(folder: Path) -> dict[str, str]:
    """Returns name to digest of a folder's files, which are on the disk then."""
    digests = {}
    for path in sorted(folder.iterdir()):
        path.chmod(0o644)  # safetensors writes 0600
        digests[path.name] = _digest(path)
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    return digests


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
