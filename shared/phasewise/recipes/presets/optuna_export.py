"""Units' trials as SQLite studies, for optuna-dashboard and other readers of Optuna's format."""

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import optuna
from optuna.storages.journal import JournalFileBackend


def export_trials(sources: Sequence[tuple[Path, str]], database: Path) -> None:
    """Writes studies of journal files into a new SQLite file that takes an earlier one's place.

    Copies of the journals are read, so a running search is not disturbed.

    Args:
        sources: Each unit's storage, and the name of the study in it.
        database: The file to write.
    """
    database.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=database.parent, prefix=".export-") as folder:
        target = Path(folder) / database.name
        for journal, name in sources:
            _copy_study(journal, name, target)
        os.replace(target, database)


def _copy_study(journal: Path, name: str, target: Path) -> None:
    copy = target.with_name("journal.log")
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
