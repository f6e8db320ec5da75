"""A real PostgreSQL server of a test's own: in a temporary folder, as a user without rights."""

import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

from phasewise.training.ranks import find_port

_CONFIG = """
listen_addresses = '{host}'
port = {port}
unix_socket_directories = ''
log_destination = stderr
fsync = off
"""


def find_programs() -> Path | None:
    """Where initdb and pg_ctl are; Debian keeps them out of the path."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    if (found := shutil.which("pg_ctl")) is not None:
        folders.append(Path(found).parent)
    return next((folder for folder in folders if (folder / "initdb").is_file()), None)


def skip_loudly(reason: str) -> None:
    """Skips a test, and says so in the summary: what it shows has not been shown."""
    warnings.warn(f"NOT TESTED: {reason}", stacklevel=2)
    pytest.skip(reason)


class Postgres:
    """A server; user and database are ``phasewise``, the password is random.

    Args:
        folder: For its data; belongs to the user that it runs as.
        host: Address that it listens at.
        prefix: Command that runs others in the server's network, if it has its own.
    """

    user = "phasewise"

    def __init__(self, folder: Path, host: str = "127.0.0.1", prefix: tuple[str, ...] = ()) -> None:
        programs = find_programs()
        assert programs is not None
        self.folder, self.host, self._programs, self._prefix = folder, host, programs, prefix
        self.password = secrets.token_hex(12)
        self.port = 5432 if prefix else find_port()
        password_file = folder / "password"
        password_file.write_text(self.password)
        password_file.chmod(0o644)
        data = str(folder / "data")
        self._call("initdb", "-D", data, "-A", "scram-sha-256", "-U", self.user, "--no-sync",
                   f"--pwfile={password_file}")  # fmt: skip
        password_file.unlink()
        with (folder / "data" / "postgresql.conf").open("a") as stream:
            stream.write(_CONFIG.format(host=host, port=self.port))
        with (folder / "data" / "pg_hba.conf").open("a") as stream:
            stream.write("host all all 0.0.0.0/0 scram-sha-256\n")
        self.start()
        self.sql(f"CREATE DATABASE {self.user}", database="postgres")

    @property
    def url(self) -> str:
        """What a study's ``storage`` says."""
        return f"postgresql://{self.user}@{self.host}:{self.port}/{self.user}"

    def start(self) -> None:
        log = str(self.folder / "server.log")
        self._call("pg_ctl", "-D", str(self.folder / "data"), "-l", log, "-w", "start")

    def stop(self, mode: str = "fast") -> None:
        """``immediate`` is a crash: nothing is written any more."""
        self._call("pg_ctl", "-D", str(self.folder / "data"), "-m", mode, "-w", "stop")

    def sql(self, statement: str, database: str = user) -> list[list[str]]:
        """Returns rows of texts, without any of Phasewise's code."""
        command = [str(self._programs / "psql"), "-X", "-q", "-A", "-t", "-F", "\t"]
        command += ["-h", self.host, "-p", str(self.port), "-U", self.user, "-d", database]
        done = subprocess.run(
            [*self._prefix, *command, "-c", statement],
            env={**os.environ, "PGPASSWORD": self.password},
            capture_output=True,
            text=True,
            check=True,
        )
        return [line.split("\t") for line in done.stdout.splitlines()]

    def _call(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), *arguments]
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            command = ["setpriv", f"--reuid={_user().pw_uid}", f"--regid={_user().pw_gid}",
                       "--clear-groups", *command]  # fmt: skip
        with (self.folder / "calls.log").open("ab") as log:
            subprocess.run(
                [*self._prefix, *command],
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                check=True,
                timeout=60,
            )


@contextmanager
def run_postgres(host: str = "127.0.0.1", prefix: tuple[str, ...] = ()) -> Iterator[Postgres]:
    """Gives a server; skips the test, loudly, where there is no PostgreSQL or no driver."""
    if find_programs() is None:
        skip_loudly("no PostgreSQL server; Debian: apt-get install postgresql")
    if find_spec("psycopg") is None:
        skip_loudly("no driver; pip install 'phasewise[postgresql]'")
    folder = Path(tempfile.mkdtemp(prefix="phasewise-pg-"))
    if os.geteuid() == 0:
        os.chown(folder, _user().pw_uid, _user().pw_gid)
    folder.chmod(0o755)
    try:
        server = Postgres(folder, host, prefix)
        try:
            yield server
        finally:
            server.stop("immediate")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _user() -> pwd.struct_passwd:
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    return known.get("postgres") or known["nobody"]
