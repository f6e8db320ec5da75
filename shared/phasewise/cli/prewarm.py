"""Whether a command trains: then its workers' imports start before its own, beside them.

Imports next to nothing, so that they start at the program's first moment.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

from phasewise.extensions import recipe_constants
from phasewise.training.server_process import server_ahead

#: The commands that train a study's unit, if they are told its task, in workers.
_TRAINING = {"defaults", "search", "validate"}
#: Options with which they do not.
_IDLE = {"-h", "--help", "--dry-run"}
#: The default study of a clone, relative to its root.
DEFAULT_STUDY = "shared/config.yaml"


def prewarm_workers(arguments: Sequence[str]) -> AbstractContextManager[None]:
    """Returns what keeps a server of workers while a command runs, if it trains.

    Args:
        arguments: The command line, unchecked: at worst the server is of no use.
    """
    if not arguments or not _trains(arguments[0]) or _IDLE.intersection(arguments):
        return nullcontext()
    study = _find_value(arguments, "--study", "-s")
    if not study and arguments[0] in _TRAINING and _find_value(arguments, "--task", "-t"):
        study = DEFAULT_STUDY
    return server_ahead(study, _find_value(arguments, "--method", "-m"))


def _trains(command: str) -> bool:
    return command in _TRAINING or command in recipe_constants("TRAINING_COMMANDS")


def _find_value(arguments: Sequence[str], name: str, letter: str) -> str:
    """Returns an option's value, written in any of click's ways; empty if it is not given."""
    for place, argument in enumerate(arguments):
        if argument in (name, letter):
            return arguments[place + 1] if place + 1 < len(arguments) else ""
        for start in (f"{name}=", letter):
            if argument.startswith(start):
                return argument.removeprefix(start)
    return ""
