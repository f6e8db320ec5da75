"""Whether a command trains: then its workers' imports start before its own, beside them.

Imports next to nothing, so that they start at the program's first moment.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

from phasewise.training.server_process import server_ahead

#: The commands that train in workers.
_TRAINING = {"defaults", "search", "validate", "ablate", "preset"}
#: Those that train a study's unit if they are told its task.
_OF_STUDIES = {"defaults", "search", "validate"}
#: Options with which they do not.
_IDLE = {"--help", "--dry-run"}
#: The default study of a clone, relative to its root.
DEFAULT_STUDY = "shared/config.yaml"


def prewarm_workers(arguments: Sequence[str]) -> AbstractContextManager[None]:
    """Returns what keeps a server of workers while a command runs, if it trains.

    Args:
        arguments: The command line, unchecked: at worst the server is of no use.
    """
    if not arguments or arguments[0] not in _TRAINING or _IDLE.intersection(arguments):
        return nullcontext()
    study = _find_value(arguments, "--study", "-s")
    if not study and arguments[0] in _OF_STUDIES and _find_value(arguments, "--task", "-t"):
        study = DEFAULT_STUDY
    return server_ahead(study, _find_value(arguments, "--method", "-m"))


def _find_value(arguments: Sequence[str], name: str, letter: str) -> str:
    """Returns an option's value, written in any of click's ways; empty if it is not given."""
    for place, argument in enumerate(arguments):
        if argument in (name, letter):
            return arguments[place + 1] if place + 1 < len(arguments) else ""
        for start in (f"{name}=", letter):
            if argument.startswith(start):
                return argument.removeprefix(start)
    return ""
