"""The trials of studies in optuna-dashboard: it gets a copy, never the live files."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from phasewise.errors import ConfigError
from phasewise.runs import UnitPaths
from phasewise.settings import load_study


def show_copy(studies: Sequence[Path], port: int) -> None:
    """Copies the trials of studies into one storage, and shows it until Ctrl-C.

    Raises:
        ConfigError: optuna-dashboard is not installed, or there is no trial yet.
    """
    if find_spec("optuna_dashboard") is None:
        raise ConfigError(
            "--optuna: optuna-dashboard is not installed; run: pip install 'phasewise[optuna]'"
        )
    with tempfile.TemporaryDirectory() as folder:
        storage = Path(folder) / "optuna.log"
        if not copy_trials(studies, storage):
            raise ConfigError("--optuna: expected a study with trials, got none yet")
        command = ["--host", "127.0.0.1", "--port", str(port), str(storage)]
        start = "import sys; from optuna_dashboard._cli import main; sys.exit(main())"
        subprocess.run([sys.executable, "-c", start, *command], check=False)


def copy_trials(studies: Sequence[Path], storage: Path) -> int:
    """Copies every unit's search into a new journal; returns how many there were.

    Journals that are being written are copied first: a last line that is torn is left out.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    target, count = JournalStorage(JournalFileBackend(str(storage))), 0
    for path in studies:
        study = load_study(path)
        for task, method in study.units_of("all"):
            journal = UnitPaths(study, task, method).storage
            if not journal.is_file():
                continue
            copy = storage.with_name("one.log")
            shutil.copyfile(journal, copy)
            whole = copy.read_bytes()
            copy.write_bytes(whole[: whole.rfind(b"\n") + 1])
            source = JournalStorage(JournalFileBackend(str(copy)))
            for name in optuna.get_all_study_names(source):
                optuna.copy_study(from_study_name=name, from_storage=source, to_storage=target)
                count += 1
            copy.unlink()
    return count
