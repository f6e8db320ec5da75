"""From a mapping to a settings section; what is wrong becomes one line that tells where."""

from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from phasewise.errors import ConfigError, suggest_nearest
from phasewise.settings.base import Section

_S = TypeVar("_S", bound=Section)
#: The tags of discriminated unions, which pydantic puts into an error's location.
_TAGS = {"hub", "files", "package", "range", "categorical", "fixed"}
_TAGS |= {"uniform", "log_uniform", "int", "log_int"}


def parse_section(model: type[_S], content: dict[str, Any], path: Path, *, prefix: str = "") -> _S:
    """Returns the section that a mapping describes.

    Args:
        model: The section's class.
        content: As read from YAML.
        path: The file it came from, for messages.
        prefix: Of the key in messages, such as ``tasks.rte.``.

    Raises:
        ConfigError: Naming the file, the key, what was expected and what came.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise ConfigError(f"{path}: {prefix}{describe_error(error, model)}") from error


def error_location(error: ValidationError) -> list[str]:
    """Returns the keys, outermost first, that the first problem lies at."""
    return [str(part) for part in _first(error)["loc"] if part not in _TAGS]


def describe_error(error: ValidationError, model: type[BaseModel]) -> str:
    """Returns the first problem in one line: key, what was expected, what came."""
    first = _first(error)
    location = error_location(error)
    where = ".".join(location) or model.__name__
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        known = _known_keys(model, location[:-1])
        return f"unknown key '{where}'{suggest_nearest(location[-1], known)}{more}"
    if first["type"] == "missing":
        return f"'{where}' is missing{more}"
    came = "" if isinstance(first["input"], dict) else f", got {first['input']!r}"
    message = first["msg"].removeprefix("Value error, ")
    return f"{where}: {message[0].lower()}{message[1:]}{came}{more}"


def _first(error: ValidationError) -> Any:
    """A misspelt key explains why another is missing, so it comes first."""
    problems = error.errors()
    return next((p for p in problems if p["type"] == "extra_forbidden"), problems[0])


def _known_keys(model: type[BaseModel], location: list[str]) -> list[str]:
    current: type[BaseModel] = model
    for part in location:
        field = current.model_fields.get(part)
        if field is None or not (
            isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
        ):
            return []
        current = field.annotation
    return list(current.model_fields)
