"""A suite's runs in one SQLite file, with the query functions of the LoRA efficiency study.

The records are the truth; the file is written from them and can be written again at any time.
"""

import json
import os
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from phasewise.errors import RecordError
from phasewise.records import RunRecord, write_atomically
from phasewise.settings import TaskSettings

DATABASE_FILE = "experiments.db"
#: The document's word for a status.
_ALIASES = {"completed": "finished"}
_JSON_COLUMNS = ("hyperparameters", "metrics")
_COLUMNS = {
    "suite": "TEXT NOT NULL",
    "experiment_type": "TEXT NOT NULL",
    "experiment_name": "TEXT NOT NULL",
    "run": "TEXT NOT NULL",
    "status": "TEXT NOT NULL",
    "message": "TEXT NOT NULL",
    "model": "TEXT NOT NULL",
    "task": "TEXT NOT NULL",
    "method": "TEXT NOT NULL",
    "metric": "TEXT NOT NULL",
    "score": "REAL",
    "train_seconds": "REAL",
    "total_seconds": "REAL",
    "peak_memory_mb": "REAL",
    "adapter_bytes": "INTEGER",
    "trainable_parameters": "INTEGER",
    "total_parameters": "INTEGER",
    "device": "TEXT NOT NULL",
    "hyperparameters": "TEXT NOT NULL",
    "metrics": "TEXT NOT NULL",
    "started": "TEXT NOT NULL",
    "ended": "TEXT NOT NULL",
    "hash": "TEXT NOT NULL",
}
_COSTS = (
    "train_seconds",
    "total_seconds",
    "peak_memory_mb",
    "adapter_bytes",
    "trainable_parameters",
    "total_parameters",
)


class ExperimentRun(NamedTuple):
    """A run and what it is part of."""

    experiment_type: str
    experiment_name: str
    record: RunRecord
    suite: str = ""


class MissingRun(NamedTuple):
    """An experiment without any run: a row of the database all the same, with status failed."""

    experiment_type: str
    experiment_name: str
    suite: str
    model: str
    task: TaskSettings
    method: str
    hyperparameters: Mapping[str, Any]  # those that the suite gives
    message: str


def write_experiments(path: Path, runs: Iterable[ExperimentRun | MissingRun]) -> None:
    """Writes the runs into a new database that takes the place of an earlier one, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    columns = ", ".join(f"{name} {kind}" for name, kind in _COLUMNS.items())
    marks = ", ".join("?" * len(_COLUMNS))
    try:
        with closing(sqlite3.connect(temporary)) as database, database:
            database.execute(f"CREATE TABLE experiments (id INTEGER PRIMARY KEY, {columns})")
            database.execute("CREATE INDEX by_type ON experiments (experiment_type, status)")
            database.executemany(
                f"INSERT INTO experiments ({', '.join(_COLUMNS)}) VALUES ({marks})",
                (_row(run) for run in runs),
            )
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


class ExperimentTracker:
    """Queries of a results database; it is opened for reading only.

    Args:
        path: The file.

    Raises:
        RecordError: There is no such file, or it is no results database.
    """

    def __init__(self, path: Path | str = Path("results") / DATABASE_FILE) -> None:
        self._path = Path(path)
        if not self._path.is_file():
            raise RecordError(f"{self._path}: no results database; `phasewise ablate` writes one")

    def get_all_experiments(self, status: str | None = None) -> list[dict[str, Any]]:
        """Returns all runs, or those of a status (``completed`` means ``finished``), in order."""
        if status is None:
            return self._select("", ())
        return self._select("WHERE status = ?", (_ALIASES.get(status, status),))

    def get_experiments_by_type(self, experiment_type: str) -> list[dict[str, Any]]:
        """Returns the runs of a type such as ``rank_ablation``; none of another."""
        return self._select("WHERE experiment_type = ?", (experiment_type,))

    def export_to_json(self, path: Path | str) -> None:
        """Writes all runs into a JSON file, atomically."""
        text = json.dumps(self.get_all_experiments(), indent=2, ensure_ascii=False)
        write_atomically(Path(path), text + "\n")

    def _select(self, where: str, values: tuple[str, ...]) -> list[dict[str, Any]]:
        uri = f"{self._path.resolve().as_uri()}?mode=ro"
        try:
            with closing(sqlite3.connect(uri, uri=True)) as database:
                database.row_factory = sqlite3.Row
                query = f"SELECT * FROM experiments {where} ORDER BY id"
                rows = [dict(row) for row in database.execute(query, values)]
        except sqlite3.DatabaseError as error:
            raise RecordError(f"{self._path}: not a results database ({error})") from error
        for row in rows:
            row |= {name: json.loads(row[name]) for name in _JSON_COLUMNS}
        return rows


def _row(run: ExperimentRun | MissingRun) -> tuple[Any, ...]:
    content = _describe_missing(run) if isinstance(run, MissingRun) else _describe_run(run.record)
    content |= {
        "suite": run.suite,
        "experiment_type": run.experiment_type,
        "experiment_name": run.experiment_name,
    }
    return tuple(content.get(name) for name in _COLUMNS)


def _describe_missing(run: MissingRun) -> dict[str, Any]:
    words = ("run", "device", "started", "ended", "hash")
    return {
        **dict.fromkeys(words, ""),
        "status": "failed",
        "message": run.message,
        "model": run.model,
        "task": run.task.name,
        "method": run.method,
        "metric": run.task.metric,
        "hyperparameters": json.dumps(dict(run.hyperparameters)),
        "metrics": "{}",
    }


def _describe_run(record: RunRecord) -> dict[str, Any]:
    unit = record.config.unit_config
    costs = {} if record.cost is None else {name: getattr(record.cost, name) for name in _COSTS}
    return {
        "run": record.config.name,
        "status": record.status,
        "message": record.message,
        "model": unit.model.source,
        "task": unit.task.name,
        "method": unit.method.name,
        "metric": unit.task.metric,
        "score": record.search_score,
        "device": record.environment.get("device", ""),
        "hyperparameters": json.dumps(record.config.hyperparameters.model_dump(mode="json")),
        "metrics": json.dumps(record.search_metrics),
        "started": record.started,
        "ended": record.ended,
        "hash": record.hash,
        **costs,
    }
