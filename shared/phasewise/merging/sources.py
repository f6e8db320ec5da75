"""Where results are brought from: a folder, a tar file, a folder of another machine."""

import hashlib
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from phasewise.errors import ConfigError, RecordError
from phasewise.hub import cache_folder
from phasewise.merging.archives import list_archive, unpack
from phasewise.merging.listing import Entry, Listing, ResultPaths, examine, list_folder, show
from phasewise.merging.remote import REMOTE, fetch, list_remote


@dataclass(frozen=True)
class Source:
    """A folder with the results of another machine, examined."""

    name: str  # as the user gave it
    root: Path  # stands for the other clone
    files: tuple[Entry, ...]


@contextmanager
def open_source(place: str, places: ResultPaths, *, most_bytes: int) -> Iterator[Source]:
    """Gives a source's results as a folder; of an archive or another machine, as a copy.

    The copy is in the cache, outside of the study; it goes when all is done, and stays for the next
    call where that was cut off.

    Args:
        place: A folder, a tar file, or ``user@host:path``.
        places: Of the study's results.
        most_bytes: That the source may hold.

    Raises:
        ConfigError: It is none of them.
        RecordError: It holds what is refused, a line each, or no result.
    """
    path = Path(place)
    if path.is_dir():
        listing = _require(place, list_folder(path, places), places, most_bytes)
        yield Source(place, path, listing.files)
        return
    copy = cache_folder() / "merge" / hashlib.sha256(place.encode()).hexdigest()[:16]
    if path.is_file():
        listing = _require(place, list_archive(path), places, most_bytes)
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir(parents=True)
        unpack(path, listing, copy)
        root = copy
    elif REMOTE.fullmatch(place):
        listing = _require(place, list_remote(place), places, most_bytes)
        copy.mkdir(parents=True, exist_ok=True)
        fetch(place, listing, copy)
        root = copy / listing.prefix
    else:
        raise ConfigError(
            f"{place}: expected a folder, a tar file or user@host:path; there is no such file"
        )
    try:
        yield Source(place, root, listing.files)
    finally:
        shutil.rmtree(copy, ignore_errors=True)


def _require(place: str, entries: Iterable[Entry], places: ResultPaths, most_bytes: int) -> Listing:
    listing = examine(entries, places, most_bytes=most_bytes)
    if listing.problems:
        raise RecordError("\n".join(f"{place}: {problem}" for problem in listing.problems))
    if not listing.files:
        looked = ", ".join(sorted({root.rsplit("/", 2)[0] for root in places.roots}))
        raise RecordError(f"{show(place)}: expected a clone with results in {looked}, found none")
    return listing
