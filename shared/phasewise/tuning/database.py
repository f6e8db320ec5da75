"""The PostgreSQL database that controllers share: how it is reached, and how outages are sat out.

Passwords are libpq's to find: PGPASSWORD, ~/.pgpass, a service. No message names a URL.
"""

import functools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeVar, cast

from optuna.storages import BaseStorage, RDBStorage, get_storage

from phasewise.errors import ConfigError, PhasewiseError
from phasewise.tuning.locking import Say
from phasewise.tuning.stopping import StopFlag

if TYPE_CHECKING:
    from sqlalchemy import URL, Engine

_T = TypeVar("_T")
#: What libpq and the server do where the study's URL says nothing else: either side finds out
#: within ten seconds that the other is gone. Without, a cut link stalls a statement for a quarter
#: of an hour, and the locks of a dead client hold up all others (PostgreSQL 15 manual, 34.1.2 and
#: 20.3.2).
_LIBPQ = {
    "application_name": "phasewise",
    "connect_timeout": "5",
    "keepalives_idle": "4",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "8000",
    "options": "-c tcp_keepalives_idle=4 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=3 "
    "-c tcp_user_timeout=8000 -c idle_in_transaction_session_timeout=10s -c lock_timeout=30s",
}
#: Key of the lock under which tables are created (any number; that of the letters PW).
_CREATION = 0x5057
_RETRY_SECONDS = 1.0
#: An outage that lasts longer ends the command; it can be given again.
_MOST_SECONDS = 3600.0


class Patience:
    """Repeats what an outage of the database has cut off, until it answers.

    Only for what may be done twice: the answer may have been lost after the deed.

    Args:
        say: Gets a line when the waiting begins and when it ends.
        stop: Ends the waiting.
    """

    def __init__(self, say: Say, stop: StopFlag) -> None:
        self._say, self._stop = say, stop

    def __call__(self, do: Callable[..., _T], *args: Any, **more: Any) -> _T:
        """Returns what a function returns.

        Raises:
            PhasewiseError: There has been no answer for too long.
            StoppedError: A stop was asked for meanwhile.
        """
        since: float | None = None
        while True:
            try:
                result = do(*args, **more)
            except Exception as error:
                if (reason := find_outage(error)) is None:
                    raise
                since = self._wait(since, reason)
                continue
            if since is not None:
                self._say(f"the storage answers again after {time.monotonic() - since:.0f} s")
            return result

    def _wait(self, since: float | None, reason: str) -> float:
        now = time.monotonic()
        if since is None:
            self._say(f"the storage does not answer; waiting for it: {reason}")
        elif now - since > _MOST_SECONDS:
            raise PhasewiseError(
                f"the storage has not answered for {_MOST_SECONDS / 60:.0f} minutes: {reason}; run "
                "the same command to continue"
            )
        self._stop.wait(_RETRY_SECONDS)
        return now if since is None else since


class _PatientStorage:
    """Optuna's storage, each call of which is repeated until the database answers.

    Repeating does no harm: a trial's parameters, values and attributes are the same again; an end
    that is told twice is refused; a trial that is created twice is beyond the budget.
    """

    def __init__(self, storage: BaseStorage, patience: Patience) -> None:
        self._storage, self._patience = storage, patience

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._storage, name)
        return functools.partial(self._patience, found) if callable(found) else found


class Database:
    """A connection to the storage that a study names.

    Args:
        url: ``StudySettings.storage``.
        patience: Outlasts outages, once a first connection has been made.

    Raises:
        ConfigError: psycopg is missing, or the server refuses or does not answer.
    """

    def __init__(self, url: str, patience: Patience) -> None:
        if find_spec("psycopg") is None:
            raise ConfigError(
                "storage: postgresql:// needs psycopg; pip install 'phasewise[postgresql]'"
            )
        self.patience = patience
        self._url = complete_url(url)
        try:
            with self.alone():
                text = self._url.render_as_string(hide_password=False)
                storage = RDBStorage(text, engine_kwargs={"pool_pre_ping": True})
                self.engine: Engine = storage.engine
                create_tables(self.engine)
        except Exception as error:
            if (reason := find_outage(error)) is None:
                raise
            raise ConfigError(
                f"storage: the database cannot be used: {reason}; see the URL, and PGPASSWORD, "
                "~/.pgpass or the service for the password"
            ) from error
        self.optuna = cast(BaseStorage, _PatientStorage(get_storage(storage), patience))

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Holds a lock on the database: two that create the same things disturb each other."""
        from sqlalchemy import NullPool, create_engine, text

        with create_engine(self._url, poolclass=NullPool).begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _CREATION})
            yield

    def close(self) -> None:
        """Closes all connections."""
        self.engine.dispose()


def complete_url(url: str) -> "URL":
    """Returns a study's URL with the driver, and with what it leaves to us."""
    from sqlalchemy import make_url

    parsed = make_url(url).set(drivername="postgresql+psycopg")
    return parsed.update_query_dict({k: v for k, v in _LIBPQ.items() if k not in parsed.query})


def create_tables(engine: "Engine") -> None:
    """Creates the table of runs, if there is none."""
    from sqlalchemy import text

    with engine.begin() as connection:
        connection.execute(
            text(
                "CREATE TABLE IF NOT EXISTS phasewise_runs ("
                "unit text, scope text, run text, token bigint NOT NULL, owner text NOT NULL, "
                "beat timestamptz NOT NULL, record text, PRIMARY KEY (unit, scope, run))"
            )
        )


def find_outage(error: BaseException) -> str | None:
    """Returns in a line why the database did not answer; None if the error is another."""
    from sqlalchemy.exc import (
        DBAPIError,
        InterfaceError,
        OperationalError,
        PendingRollbackError,
    )

    cause: BaseException | None = error  # Optuna wraps what SQLAlchemy raises
    while cause is not None:
        if isinstance(cause, OperationalError | InterfaceError) or (
            isinstance(cause, DBAPIError) and cause.connection_invalidated
        ):
            lines = str(cause.orig).strip().splitlines() or [type(cause.orig).__name__]
            return lines[0]
        if isinstance(cause, PendingRollbackError):  # the connection went while it was at work
            return "the connection was lost within a transaction"
        cause = cause.__cause__
    return None
