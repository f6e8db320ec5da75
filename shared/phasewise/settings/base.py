"""What every settings section shares: strict, frozen pydantic models and YAML 1.2 numbers."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict
from pydantic.fields import FieldInfo

from phasewise.errors import ConfigError

_NO_EFFECT = "no_effect"


class Section(BaseModel):
    """A settings section: unknown keys are refused and values never change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def no_effect(why: str) -> dict[str, Any]:
    """Marks a field that cannot change a result, and so is no part of a run's hash.

    Every other field of every section is: one that is forgotten here costs a needless training, one
    that is forgotten in a list of what counts would hand out results of other settings.

    Args:
        why: The reason, for the reader of the declaration.

    Returns:
        What ``Field(json_schema_extra=...)`` takes.
    """
    return {_NO_EFFECT: why}


def describe_meaning(value: Any) -> Any:
    """Returns what a value means as plain JSON: sections without the fields that have no effect.

    A whole number is an int: 16 as a default and the 16.0 that is read back are one setting.
    """
    if isinstance(value, BaseModel):
        fields = type(value).model_fields
        return {
            name: describe_meaning(getattr(value, name))
            for name, field in fields.items()
            if not is_marked(field)
        }
    if isinstance(value, Mapping):
        return {str(key): describe_meaning(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [describe_meaning(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def is_marked(field: FieldInfo) -> bool:
    """Whether a field is declared as one that has no effect on results."""
    extra = field.json_schema_extra
    return isinstance(extra, dict) and _NO_EFFECT in extra


class _Loader(yaml.SafeLoader):
    """A safe loader that refuses duplicate keys and reads ``1e-6`` as a number."""


# PyYAML follows YAML 1.1, where an exponent needs a dot and a sign; users write 1e-6 (YAML 1.2).
_FLOAT = re.compile(
    r"^[-+]?(?:[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?"
    r"|[0-9][0-9_]*[eE][-+]?[0-9]+|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
)
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))


def _construct_mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if key in seen:
            line = key_node.start_mark.line + 1
            raise yaml.constructor.ConstructorError(None, None, f"line {line}: key '{key}' twice")
        seen.add(key)
    return dict(loader.construct_mapping(node, deep=True))


_Loader.add_constructor("tag:yaml.org,2002:map", _construct_mapping)


def read_scalar(text: str) -> Any:
    """Returns what a text would be as an unquoted value of a settings file: ``1e-6``, a number."""
    loader, bare = _Loader(""), text.strip()
    tag = loader.resolve(yaml.ScalarNode, bare, (True, False))  # type: ignore[no-untyped-call]
    try:
        return loader.construct_object(yaml.ScalarNode(tag, bare))
    except (ValueError, yaml.YAMLError):  # 2024-02-30: it looks like a date, and is none
        return bare


def read_yaml(path: Path) -> dict[str, Any]:
    """Returns the mapping in a YAML file; ``1e-6`` is a number, a key given twice is refused.

    Raises:
        ConfigError: The file is missing, not UTF-8, not YAML, or not a mapping.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: no such settings file")
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: expected UTF-8 text, byte {error.start} is not") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    except RecursionError as error:
        raise ConfigError(f"{path}: not valid YAML: nested too deeply to be settings") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected 'key: value' lines, got a {type(content).__name__}")
    return content


def merge_mappings(
    base: dict[str, Any], override: dict[str, Any], *, null_removes: bool = False
) -> dict[str, Any]:
    """Returns ``base`` with ``override`` laid over it, key by key; neither argument is changed.

    Mappings merge, everything else (lists too) is replaced; where ``null_removes``, a null takes
    the key out of ``base`` instead.
    """
    merged = dict(base)
    for key, value in override.items():
        old = merged.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            merged[key] = merge_mappings(old, value, null_removes=null_removes)
        elif null_removes and value is None and key in merged:
            del merged[key]
        else:
            merged[key] = value
    return merged
