"""The errors a user may meet; each message says what was expected, what came, where to mend it."""

import re
from collections.abc import Iterable
from difflib import get_close_matches

#: What stands before the host in a URL: people put passwords and tokens there.
_USER_OF_URL = re.compile(r"(?<=//)[^/@\s]+@")


class PhasewiseError(Exception):
    """Base of every error raised on purpose; the command line prints it in one line.

    Its message may end in logs, records and reports, so it names no user of a URL.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(hide_secrets(message))


def hide_secrets(text: str, instead: str = "…@") -> str:
    """Returns a text whose URLs have no user, password or token: ``https://…@host/``."""
    return _USER_OF_URL.sub(instead, text)


class ConfigError(PhasewiseError):
    """A settings file, a command-line value or an environment variable is wrong."""


class DataError(PhasewiseError):
    """A data set is missing, unreadable, or not what its task says it is."""


class RecordError(PhasewiseError):
    """A record or a study storage cannot be read, or belongs to other settings."""


class InfeasibleRunError(PhasewiseError):
    """A run cannot be trained on this device at any micro-batch (memory), or its loss diverged."""


class WorkerError(PhasewiseError):
    """A worker process died or could not be started."""


def suggest_nearest(name: str, known: Iterable[str]) -> str:
    """Returns ``"; did you mean 'x'?"`` for a near miss, else the list of known names.

    Args:
        name: What the user wrote.
        known: The names that would have been right; may be empty.
    """
    names = sorted(known)
    near = get_close_matches(name, names, n=1, cutoff=0.6)
    if near:
        return f"; did you mean '{near[0]}'?"
    return f"; known: {', '.join(names)}" if names else ""
