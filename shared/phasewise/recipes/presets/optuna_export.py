"""A unit's trials as an SQLite study, for optuna-dashboard and other readers of Optuna's format."""

import os
import shutil
import tempfile
from pathlib import Path

import optuna
from optuna.storages.journal import JournalFileBackend


def export_trials(journal: Path, name: str, database: Path) -> None:
    """Writes a study of a journal file into a new SQLite file that takes an earlier one's place.

    A copy of the journal is read, so a running search is not disturbed.

    Args:
        journal: The unit's storage.
        name: Of the study in it.
        database: The file to write.
    """
    database.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=database.parent, prefix=".export-") as folder:
        copy, target = Path(folder) / "journal.log", Path(folder) / database.name
        shutil.copyfile(journal, copy)
        # A last line that a crash cut off would make the copy unreadable.
        content = copy.read_bytes()
        copy.write_bytes(content[: content.rfind(b"\n") + 1])
        storage = optuna.storages.JournalStorage(JournalFileBackend(str(copy)))
        verbosity = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        try:
            optuna.copy_study(
                from_study_name=name, from_storage=storage, to_storage=f"sqlite:///{target}"
            )
        finally:
            optuna.logging.set_verbosity(verbosity)
        os.replace(target, database)
