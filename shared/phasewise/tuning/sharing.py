"""The runs of a unit, shared by controllers on several machines through a database.

Each run is one row of the table ``phasewise_runs``. A controller claims a run before it trains it,
says every few seconds that it still does, and gives its record in the end. A claim that has not
been renewed for a while is another's to take; each claim has a higher number than the one before
(a fencing token), and a record is taken of the last claim only, once. So no run counts twice,
whoever hangs, is cut off or comes back. Times are the server's alone.

Optuna's own heartbeat does not do: it fails a stale trial and repeats it under a new number, so
that fixed draws and the budget would no longer follow from a trial's number.
"""

import json
import threading
from contextlib import suppress
from typing import Any, Literal, NamedTuple

from sqlalchemy import CursorResult, text
from sqlalchemy.exc import SQLAlchemyError

from phasewise.records import RunRecord
from phasewise.tuning.database import Database

#: How often a controller says that it lives.
BEAT_SECONDS = 10.0
#: A claim that was not renewed for so long is another's to take: a controller that is merely slow,
#: or cut off for half a minute, keeps its runs.
GRACE_SECONDS = 60.0

#: free: nobody's, or of a controller that seems to be dead. held: under way elsewhere, or here.
#: ended: its record is there.
RunState = Literal["free", "held", "ended"]

_KEY = "unit = :unit AND scope = :scope AND run = :run"
_STALE = "beat < now() - make_interval(secs => :grace)"
_CLAIM = f"""
INSERT INTO phasewise_runs AS known (unit, scope, run, token, owner, beat)
VALUES (:unit, :scope, :run, 1, :owner, now())
ON CONFLICT (unit, scope, run) DO UPDATE
SET token = known.token + 1, owner = :owner, beat = now()
WHERE known.record IS NULL AND (known.owner = :owner OR known.{_STALE})
RETURNING token
"""
_BEAT = f"UPDATE phasewise_runs SET beat = now() WHERE {_KEY} AND token = :token AND record IS NULL"
_COMMIT = f"""
UPDATE phasewise_runs SET record = :record, beat = now()
WHERE {_KEY} AND token = :token AND record IS NULL
"""
_COMMITTED = f"SELECT 1 FROM phasewise_runs WHERE {_KEY} AND token = :token AND record IS NOT NULL"
_RELEASE = f"""
UPDATE phasewise_runs SET beat = '-infinity' WHERE {_KEY} AND token = :token AND record IS NULL
"""
_STATES = f"""
SELECT scope, run, record IS NOT NULL AS ended, owner = :owner OR {_STALE} AS free
FROM phasewise_runs WHERE unit = :unit
"""
_OTHERS = f"""
SELECT DISTINCT owner FROM phasewise_runs
WHERE unit = :unit AND run LIKE 'phase1/trial-%' AND scope <> :scope AND record IS NULL
AND owner <> :owner AND NOT {_STALE}
"""


class RunKey(NamedTuple):
    """A run of a unit."""

    run: str
    """``phase1/trial-003``."""
    scope: str
    """Hash of the settings that it belongs to."""


class _Answer(NamedTuple):
    rows: list[Any]
    written: int  # rows


class SharedRuns:
    """A unit's runs in the database, as one controller sees them.

    Args:
        database: The connection; closed at the end.
        unit: Name of the unit, the same for all its controllers.
        owner: Of this controller and of those that come after it on the same results folder: such
            a one takes over at once.
    """

    def __init__(self, database: Database, unit: str, owner: str) -> None:
        self.database = database
        self._names: dict[str, Any] = {"unit": unit, "owner": owner, "grace": GRACE_SECONDS}
        self._held: dict[RunKey, int] = {}  # with the number of the claim
        self._lost: dict[RunKey, int] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> "SharedRuns":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        with suppress(SQLAlchemyError):  # in an outage they become free by themselves
            for key, token in self._held.items():
                self._execute(_RELEASE, key, token=token)
        self.database.close()

    def claim(self, key: RunKey) -> bool:
        """Takes a run that is free; returns whether it is now this controller's."""
        answer = self._patiently(_CLAIM, key)
        for (token,) in answer.rows:
            self._held[key] = int(token)
        return bool(answer.rows)

    def commit(self, key: RunKey, record: RunRecord) -> bool:
        """Gives the record of a claimed run; returns whether it counts: another's may by now."""
        token = self._held.pop(key)
        content = json.dumps(record.model_dump(mode="json"))
        if self._patiently(_COMMIT, key, token=token, record=content).written:
            return True
        # An outage may have swallowed the answer to an earlier attempt.
        return bool(self._patiently(_COMMITTED, key, token=token).rows)

    def release(self, key: RunKey) -> None:
        """Gives a claimed run back."""
        self._patiently(_RELEASE, key, token=self._held.pop(key))

    def is_lost(self, key: RunKey) -> bool:
        """Whether a run that was claimed here has been taken by another controller."""
        return key in self._lost and self._lost[key] == self._held.get(key)

    def states(self) -> dict[RunKey, RunState]:
        """Returns the state of every run that was ever claimed; all others are free."""
        states: dict[RunKey, RunState] = {}
        for scope, run, ended, free in self._patiently(_STATES).rows:
            key = RunKey(run, scope)
            state: RunState = "free" if free and key not in self._held else "held"
            states[key] = "ended" if ended else state
        return states

    def read(self, key: RunKey) -> RunRecord:
        """Returns the record of a run that has ended."""
        (content,) = self._patiently(f"SELECT record FROM phasewise_runs WHERE {_KEY}", key).rows[0]
        return RunRecord.model_validate(json.loads(content))

    def find_strangers(self, scope: str) -> list[str]:
        """Returns the controllers that search this unit under other settings just now."""
        return [str(owner) for (owner,) in self._patiently(_OTHERS, RunKey("", scope)).rows]

    def _patiently(self, statement: str, key: RunKey | None = None, **more: Any) -> _Answer:
        return self.database.patience(self._execute, statement, key, **more)

    def _execute(self, statement: str, key: RunKey | None = None, **more: Any) -> _Answer:
        names = {**self._names, **(key._asdict() if key else {}), **more}
        with self.database.engine.begin() as connection:
            found: CursorResult[Any] = connection.execute(text(statement), names)
            return _Answer(list(found) if found.returns_rows else [], found.rowcount)

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            with suppress(SQLAlchemyError):  # an outage: the next beat may come through
                for key, token in self._held.copy().items():
                    if not self._execute(_BEAT, key, token=token).written:
                        self._lost[key] = token
