"""Archives of results: listed from their headers first, then only regular files are unpacked."""

import lzma
import os
import shutil
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from phasewise.errors import RecordError
from phasewise.merging.listing import Entry, Kind, Listing

#: Headers that name a long path: tarfile holds them in memory whatever size they claim.
_LONG_HEADERS = (
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)
_MOST_HEADER_BYTES = 1_000_000


class _Member(tarfile.TarInfo):
    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> "_Member":
        """Reads the next header; by itself tarfile takes a cut-off archive for a whole one."""
        try:
            return super().fromtarfile(archive)
        except (
            tarfile.EmptyHeaderError,  # type: ignore[attr-defined]
            tarfile.TruncatedHeaderError,  # type: ignore[attr-defined]
        ) as error:
            raise tarfile.ReadError("it ends before its end mark") from error

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in _LONG_HEADERS and self.size > _MOST_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {self.size} bytes")
        member: tarfile.TarInfo = super()._proc_member(archive)  # type: ignore[misc]
        return member


def list_archive(path: Path) -> Iterator[Entry]:
    """Yields the members of a tar file; the data of a member are read after it was yielded.

    Raises:
        RecordError: It is none, or damaged.
    """
    with _open_archive(path) as archive:
        for member in archive:
            yield Entry(member.name, _find_kind(member), max(member.size, 0))


def unpack(path: Path, listing: Listing, target: Path) -> None:
    """Writes the files of a listing below ``target``, with their times.

    Raises:
        RecordError: The archive is damaged, or another one than was listed.
    """
    wanted = {entry.path: entry.size for entry in listing.files}
    with _open_archive(path) as archive:
        for member in archive:
            name = PurePosixPath(member.name).as_posix().removeprefix(listing.prefix)
            if not member.isreg() or name not in wanted:
                continue
            data = archive.extractfile(member)
            if data is None or member.size != wanted.pop(name):
                raise RecordError(f"{path}: changed while it was read")
            file = target / name
            file.parent.mkdir(parents=True, exist_ok=True)
            with data, file.open("xb") as stream:
                shutil.copyfileobj(data, stream)
            os.utime(file, (member.mtime, member.mtime))
    if wanted:
        raise RecordError(f"{path}: changed while it was read")


@contextmanager
def _open_archive(path: Path) -> Iterator[tarfile.TarFile]:
    """Opens an archive as a stream: nothing is read ahead of what was looked at."""
    try:
        with tarfile.open(path, "r|*", tarinfo=_Member) as archive:
            yield archive
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, ValueError) as error:
        raise RecordError(f"{path}: not a tar file that can be read: {error}") from error
    except OSError as error:
        if error.filename is not None:  # one of ours
            raise
        raise RecordError(f"{path}: not a tar file that can be read: {error}") from error
    except OverflowError as error:
        raise RecordError(f"{path}: a file's time is out of range") from error


def _find_kind(member: tarfile.TarInfo) -> Kind:
    if member.isreg():
        return "file"
    if member.isdir():
        return "folder"
    return "link" if member.issym() or member.islnk() else "device"
