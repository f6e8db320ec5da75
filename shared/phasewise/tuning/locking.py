"""Who may write a unit's results: a lock, and a numbered lease that a later holder outdates.

The lock is flock's: it ends with its process, however that dies, and works over NFSv4. A node that
hangs may lose it to another and go on later as if it still had it; some file systems have none.
So each holder also has a lease, a file ``controller.N.lock``: the next holder creates N + 1 (only
one can) and removes N. Before each write a holder, and each of its workers, looks whether its own
lease is there. N is a fencing token (Kleppmann, Designing Data-Intensive Applications, 2017,
chapter 8); the folder, not a clock, says who came later.
"""

import errno
import fcntl
import os
import platform
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from phasewise.errors import RecordError
from phasewise.records import is_there, open_unlinked
from phasewise.tuning.stopping import Checked

_POLL_SECONDS = 0.2
#: How often a holder touches its lease.
_BEAT_SECONDS = 5.0
#: Without locks, a lease that nobody has touched for so long is taken over: a file system over a
#: network may show a touch half a minute late.
_LEASE_SECONDS = 60.0
#: How a file system says that it has no locks.
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}
_RELEASED = "released\n"

Say = Callable[[str], None]


class Lease:
    """The right to write a unit's results, until another process takes it.

    Args:
        path: The file that stands for it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def check(self) -> None:
        """Looks whether the lease is still the last one.

        Raises:
            RecordError: Another process has taken over.
        """
        if not is_there(self.path):
            raise RecordError(
                f"{self.path.parent}: another controller has taken over, since this one seemed to "
                "be dead; this one writes nothing more"
            )

    @contextmanager
    def keep(self) -> Iterator["Lease"]:
        """Touches the file now and then; at the end it says that it is given back."""
        ended = threading.Event()
        thread = threading.Thread(target=self._touch, args=(ended,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            ended.set()
            with suppress(OSError):  # taken over; or a full disk: the next holder waits then
                _overwrite(self.path, _RELEASED)

    def _touch(self, ended: threading.Event) -> None:
        while not ended.wait(_BEAT_SECONDS):
            with suppress(OSError):
                os.utime(self.path)


@contextmanager
def hold_lock(path: Path, say: Say, stop: Checked) -> Iterator[Lease]:
    """Holds a unit's lock and lease; while another process has them, says once who and waits.

    The files stay, with the pid and host of their last holder.

    Args:
        path: The lock file; its folder is made, and the leases lie beside it.
        say: Gets the one line about waiting, and one about a file system without locks.
        stop: Ends the wait.

    Raises:
        RecordError: The file is a link.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    holder = f"pid {os.getpid()} on {platform.node()}\n"
    with open(path, "a+", encoding="utf-8", opener=open_unlinked) as stream:
        locked = _lock(stream, path, say, stop)
        if not locked:
            say(f"{path}: no locks on this file system; a lease of {_LEASE_SECONDS:.0f} s does")
        lease = _take_lease(path, holder, say, stop, at_once=locked)
        stream.seek(0)
        stream.truncate()
        stream.write(holder)
        stream.flush()
        with lease.keep():
            yield lease


def _lock(stream: IO[str], path: Path, say: Say, stop: Checked) -> bool:
    """Waits for the lock; returns False where there are none."""
    said = False
    while True:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if not said:
                _say_who(path, say)
                said = True
            stop.check()
            time.sleep(_POLL_SECONDS)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            return False


def _say_who(path: Path, say: Say) -> None:
    holder = path.read_text(encoding="utf-8").strip() or "another process"
    say(f"waiting: {holder} works on this unit and holds {path}")


def _take_lease(path: Path, holder: str, say: Say, stop: Checked, *, at_once: bool) -> Lease:
    """Creates the next lease; ``at_once``: whoever had the last one has lost the lock."""
    while True:
        number, last = max(_list_leases(path), default=(0, None))
        if last is not None and not at_once:
            _await_end(last, say, stop)
        new = path.with_name(f"{path.stem}.{number + 1}.lock")
        with suppress(FileExistsError):
            descriptor = os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
            with os.fdopen(descriptor, "w") as stream:
                stream.write(holder)
            for found, other in sorted(_list_leases(path)):
                if found > number + 1:  # taken and outdated since the look above
                    break
                if found <= number:
                    other.unlink(missing_ok=True)
            else:
                return Lease(new)
            new.unlink(missing_ok=True)


def _list_leases(path: Path) -> list[tuple[int, Path]]:
    found = [(each.name.split(".")[-2], each) for each in path.parent.glob(f"{path.stem}.*.lock")]
    return [(int(number), each) for number, each in found if number.isdecimal()]


def _await_end(lease: Path, say: Say, stop: Checked) -> None:
    """Returns once a lease was given back, was taken, or has not been touched for long enough."""
    said, seen, since = False, _look(lease), time.monotonic()
    while seen not in (None, _RELEASED) and time.monotonic() - since < _LEASE_SECONDS:
        if not said:
            _say_who(lease, say)
            said = True
        stop.check()
        time.sleep(_POLL_SECONDS)
        if (now := _look(lease)) != seen:
            seen, since = now, time.monotonic()


def _look(lease: Path) -> str | None:
    """Returns what changes when a lease is touched; None if it is gone."""
    try:
        with open(lease, encoding="utf-8") as stream:
            text = stream.read()
            return text if text == _RELEASED else f"{text} {os.fstat(stream.fileno()).st_mtime_ns}"
    except FileNotFoundError:
        return None


def _overwrite(path: Path, text: str) -> None:
    """Writes a file that is there already; one that is gone stays so."""
    descriptor = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)
