"""Results on another machine, fetched by rsync: listed first, and then only regular files."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from phasewise.errors import RecordError
from phasewise.merging.listing import Entry, Kind, Listing

#: ``user@host:path``, as scp takes it: neither an option, nor rsync's ``host::module``, nor a URL.
REMOTE = re.compile(r"(?:[A-Za-z0-9_][\w.-]*@)?[A-Za-z0-9][\w.-]*:(?!:|//).+")
#: A line of ``rsync --list-only``: kind and rights, size, day, time, name.
_LINE = re.compile(r"([-dlcbps])\S{9}\S?\s+([\d,.]+) [\d/]+ [\d:]+ (.*)")
_ESCAPE = re.compile(rb"\\#([0-7]{3})")
_KINDS: dict[str, Kind] = {"-": "file", "d": "folder", "l": "link"}


def list_remote(place: str) -> Iterator[Entry]:
    """Yields what lies below a folder of another machine.

    Raises:
        RecordError: rsync is missing, or the machine cannot be reached.
    """
    for line in _call(["--list-only", "--links", "--devices", "--specials"], [_folder(place)]):
        if found := _LINE.fullmatch(line):
            name = found[3].split(" -> ")[0] if found[1] == "l" else found[3]
            kind = _KINDS.get(found[1], "device")
            size = int(re.sub(r"\D", "", found[2])) if kind == "file" else 0
            yield Entry(_unescape(name), kind, size)


def fetch(place: str, listing: Listing, target: Path) -> None:
    """Copies the files of a listing below ``target``, with their times; goes on where it stopped.

    Raises:
        RecordError: See ``list_remote``.
    """
    names = "".join(f"{listing.prefix}{entry.path}\0" for entry in listing.files)
    options = ["--times", "--partial", "--files-from=-", "--from0"]
    _call(options, [_folder(place), f"{target}/"], given=names)


def _folder(place: str) -> str:
    return f"{place.rstrip('/')}/"


def _call(options: list[str], paths: list[str], *, given: str = "") -> list[str]:
    command = ["rsync", "--recursive", "--no-human-readable", "--protect-args", *options, "--"]
    try:
        done = subprocess.run(
            [*command, *paths],
            input=given,
            capture_output=True,
            text=True,
            errors="surrogateescape",
        )
    except FileNotFoundError as error:
        raise RecordError(
            "rsync: not installed; install it, or copy the folder here by other means"
        ) from error
    if done.returncode:
        words = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
        raise RecordError(f"rsync: {words}")
    return done.stdout.splitlines()


def _unescape(name: str) -> str:
    """Returns a name as it is: rsync writes ``\\#012`` for a character that is not printable."""
    raw = _ESCAPE.sub(lambda found: bytes([int(found[1], 8) & 255]), name.encode(errors="replace"))
    return raw.decode(errors="replace")
