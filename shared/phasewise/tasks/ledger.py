"""The ledger of the report set: one JSON line an access, which the report prints."""

import getpass
import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from phasewise.errors import RecordError
from phasewise.records import open_unlinked


def append_access(
    ledger: Path, *, task: str, run: str, reason: str, rows: int, role: str | None = None
) -> None:
    """Appends who opened a report set, when and why.

    One ``write`` to a file opened for appending: lines of several processes never mix.

    Args:
        ledger: The file; made with its folder if need be.
        task: Name of the task.
        run: Label of the run that opens it.
        reason: Why, in a few words.
        rows: Examples that it gets to see.
        role: What the run is in its study; None: none of its runs.
    """
    entry = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "user": _user(),
        "host": platform.node(),
        "task": task,
        "run": run,
        "role": role,
        "reason": reason,
        "rows": rows,
    }
    ledger.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps(entry, ensure_ascii=False) + "\n"
    handle = open_unlinked(str(ledger), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(handle, line.encode())
    finally:
        os.close(handle)


def read_ledger(ledger: Path) -> list[dict[str, Any]]:
    """Returns all accesses, oldest first; none if there is no file.

    Raises:
        RecordError: A line is not a JSON object.
    """
    if not ledger.is_file():
        return []
    lines = ledger.read_bytes().split(b"\n")
    entries = []
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            entry = None
        if not isinstance(entry, dict):
            raise RecordError(f"{ledger}: line {number}: not a ledger entry; mend it")
        entries.append(entry)
    return entries


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run under a uid without a name
        return f"uid {os.getuid()}"
