"""The study storage of a unit: one writer at a time, one file, readable after any crash."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend

from phasewise.errors import RecordError
from phasewise.records import refuse_links
from phasewise.tuning.database import Database
from phasewise.tuning.locking import Lease, Say

#: Study attribute: hash of the settings that its trials were drawn and trained under.
HASH_KEY = "settings_hash"


class _LeasedJournal(JournalFileBackend):
    """Optuna's journal; nothing is appended once the unit is another's."""

    def __init__(self, journal: Path, lease: Lease | None) -> None:
        super().__init__(str(journal))
        self._lease = lease

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """See JournalFileBackend."""
        if self._lease is not None:
            self._lease.check()
        super().append_logs(logs)


def open_study(
    storage: Path,
    *,
    name: str,
    directions: Sequence[Literal["maximize", "minimize"]],
    settings_hash: str,
    pruner: optuna.pruners.BasePruner,
    say: Say,
    lease: Lease | None = None,
) -> optuna.Study:
    """Opens or creates a unit's study; one of other settings is moved aside first.

    The caller holds the unit's lock.

    Args:
        storage: Journal file; its folder holds the trials' records too and moves with it.
        name: Of the study.
        directions: maximize or minimize; several make it a multi-objective study.
        settings_hash: Of everything that trials depend on, see ``search_hash``.
        pruner: Consulted after each evaluation.
        say: Gets a line when something was repaired or moved.
        lease: On the unit; looked at before each write.

    Raises:
        RecordError: The journal cannot be read.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    refuse_links(storage)
    found = _read_hash(storage, name, say)
    if found is not None and found != settings_hash:
        moved = set_aside(storage.parent, found)
        say(f"settings have changed: the search under {found} was moved to {moved.name}/")
    storage.parent.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        storage=connect(storage, lease),
        study_name=name,
        directions=list(directions),
        pruner=pruner,
        load_if_exists=True,
    )
    if study.user_attrs.get(HASH_KEY) != settings_hash:
        study.set_user_attr(HASH_KEY, settings_hash)
    return study


def open_shared_study(
    database: Database,
    *,
    name: str,
    directions: Sequence[Literal["maximize", "minimize"]],
    settings_hash: str,
    pruner: optuna.pruners.BasePruner,
) -> optuna.Study:
    """Opens or creates a unit's study in a database; other settings are another study there."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        storage=database.optuna,
        study_name=f"{name}@{settings_hash}",
        directions=list(directions),
        pruner=pruner,
        load_if_exists=True,
    )
    study.set_user_attr(HASH_KEY, settings_hash)
    return study


def connect(journal: Path, lease: Lease | None = None) -> BaseStorage:
    """Returns the storage in a file; with a lease, only its holder writes."""
    return JournalStorage(_LeasedJournal(journal, lease))


def _read_hash(storage: Path, name: str, say: Say) -> str | None:
    """Returns the settings hash of the stored study; None if there is nothing to keep apart."""
    if not storage.is_file():
        return None
    repair_journal(storage, say)
    try:
        study = optuna.load_study(study_name=name, storage=connect(storage))
        attributes: dict[str, Any] = study.user_attrs
        if HASH_KEY in attributes:
            return str(attributes[HASH_KEY])
        return "unknown" if study.get_trials(deepcopy=False) else None
    except KeyError:  # no such study: killed before it was created
        return None
    except (json.JSONDecodeError, ValueError, AssertionError) as error:
        raise RecordError(
            f"{storage}: expected Optuna's journal, one JSON object a line; got: {error}; "
            "move it away, the trials' records will be used again"
        ) from error


def repair_journal(storage: Path, say: Say) -> None:
    """Cuts off last lines that a crash left torn, and removes the lock of a dead writer.

    Optuna would append to them and so make the study unreadable for ever. After a power failure a
    file may end in blocks of other content, NULs most often, with or without a line's end; they
    are kept beside it. A dead writer's lock would cost its 30 s of grace.
    """
    # Lock is a symbolic link to the journal; the unit's own lock says that no writer is alive.
    Path(f"{storage}.lock").unlink(missing_ok=True)
    with storage.open("r+b") as stream:
        content = stream.read()
        whole = _find_whole(content)
        if whole < len(content):
            damaged = free_name(storage.with_name(f"{storage.name}.damaged"))
            damaged.write_bytes(content[whole:])
            stream.truncate(whole)
            stream.flush()
            os.fsync(stream.fileno())
            say(
                f"{storage.name}: cut off {len(content) - whole} bytes torn by a crash; they are "
                f"in {damaged.name}"
            )


def _find_whole(content: bytes) -> int:
    """Returns where the last line ends that is a JSON object, from the file's start."""
    end = content.rfind(b"\n") + 1
    while end:
        start = content.rfind(b"\n", 0, end - 1) + 1
        try:
            if isinstance(json.loads(content[start:end]), dict):
                break
        except ValueError:  # of Unicode too
            pass
        end = start
    return end


def set_aside(folder: Path, label: str) -> Path:
    """Moves a folder to ``<folder>.old-<label>``; returns where it is now."""
    return folder.rename(free_name(folder.with_name(f"{folder.name}.old-{label}")))


def free_name(path: Path) -> Path:
    """Returns the path itself, or with the first of ``-2``, ``-3``, ... that nothing bears."""
    candidate, number = path, 1
    while candidate.exists():
        number += 1
        candidate = path.with_name(f"{path.name}-{number}")
    return candidate
