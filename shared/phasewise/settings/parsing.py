"""From a mapping to a settings section; what is wrong becomes one line that tells where."""

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from phasewise.errors import ConfigError, suggest_nearest
from phasewise.settings.base import Section
from phasewise.settings.storage_url import SECRET

_S = TypeVar("_S", bound=Section)
#: The tags of discriminated unions, which pydantic puts into an error's location.
_TAGS = {"hub", "files", "package", "range", "categorical", "fixed"}
_TAGS |= {"uniform", "log_uniform", "int", "log_int"}
#: What a person writes, for pydantic's types of errors that name Python's types.
_EXPECTED = {
    "dict_type": "expected `key: value` lines",
    "model_type": "expected `key: value` lines",
    "model_attributes_type": "expected `key: value` lines",
    "tuple_type": "expected a list, such as [a, b]",
    "union_tag_not_found": "'type' is missing",
    "string_type": "expected a text",
    "invalid_key": "expected a text",
    "path_type": "expected a path",
}
#: What to tell of a true or false where none can stand.
YAML_TRUTHS = "YAML reads yes, no, on and off as true and false; quote them"
#: Errors of a key or a value that YAML may have read as something else than the text it looks like.
_TEXTS = {"string_type", "invalid_key", "path_type", "literal_error"}


def parse_section(
    model: type[_S],
    content: dict[str, Any],
    path: Path,
    *,
    prefix: str = "",
    origins: Mapping[str, str] | None = None,
) -> _S:
    """Returns the section that a mapping describes.

    Args:
        model: The section's class.
        content: As read from YAML.
        path: The file it came from, for messages.
        prefix: Of the key in messages, such as ``tasks.rte.``.
        origins: Keys that came from elsewhere, to their own prefix.

    Raises:
        ConfigError: Naming the file, the key, what was expected and what came.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        key = next(iter(error_location(error)), "")
        place = (origins or {}).get(key, prefix)
        raise ConfigError(f"{path}: {describe_error(error, model, place)}") from error


def error_location(error: ValidationError) -> list[str]:
    """Returns the keys, outermost first, that the first problem lies at."""
    first = _first(error)
    parts = [str(part) for part in first["loc"]]
    if first["type"] == "string_type" and parts[-1] == "str":
        parts.pop()  # names the text of `text or number`, no key
    last = len(parts) - 1 if first["type"] == "extra_forbidden" else len(parts)
    return [
        part
        for index, part in enumerate(parts)
        if part != "[key]" and (part not in _TAGS or index == last or not _may_be_tag(parts, index))
    ]


def describe_error(error: ValidationError, model: type[BaseModel], prefix: str = "") -> str:
    """Returns the first problem in one line: key, what was expected, what came."""
    first = _first(error)
    location = error_location(error)
    where = prefix + ".".join(location) if location else prefix.rstrip(".") or model.__name__
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        return f"unknown key '{where}'{_suggest_key(model, location)}{more}"
    if first["type"] == "missing":
        return f"'{where}' is missing{more}"
    return f"{where}: {_describe_value(first)}{more}"


def _may_be_tag(parts: list[str], index: int) -> bool:
    """A tag opens the location of a parameter, or follows the key of a task's source."""
    return index == 0 or parts[index - 1] == "source"


def _describe_value(problem: Any) -> str:
    """Returns what was expected and what came."""
    value, kind = problem["input"], problem["type"]
    if kind == "union_tag_invalid":
        tags = problem["ctx"]["expected_tags"].replace("'", "")
        return f"type {problem['ctx']['tag']!r} is not one of {tags}"
    message = _EXPECTED.get(kind) or problem["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    if kind == "string_pattern_mismatch":
        message += " (letters, digits and _, no blanks)"
    if kind == "dict_type" and value is None:
        return f"{message}, got nothing; write {{}} where nothing differs"
    if kind in _TEXTS and isinstance(value, bool):
        return f"{message}: {YAML_TRUTHS}"
    came = "" if isinstance(value, dict) or kind == SECRET else f", got {value!r}"
    lacks_quotes = kind == "string_type" and isinstance(value, int | float | date)
    return f"{message}{came}" + ("; quote it" if lacks_quotes else "")


def _first(error: ValidationError) -> Any:
    """A misspelt key explains why another is missing, so it comes first."""
    problems = error.errors()
    return next((p for p in problems if p["type"] == "extra_forbidden"), problems[0])


def _suggest_key(model: type[BaseModel], location: list[str]) -> str:
    """Names the key that was meant: in the same section, or in another if it stands there."""
    name, known = location[-1], _known_keys(model, location[:-1])
    near = suggest_nearest(name, known)
    if near.startswith("; did you mean") or len(location) > 1:
        return near
    sections = [key for key in known if name in _known_keys(model, [key])]
    return f"; did you mean '{sections[0]}.{name}'?" if sections else near


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
