"""JSON schemas of settings files, for editors: keys are completed and a wrong one is underlined.

A schema says less than ``load_study``: it knows no other file, so every key may be left out (it may
be inherited) or null (which takes back what is inherited).
"""

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import TypeAdapter

from phasewise.pruners import PRUNERS
from phasewise.samplers import all_samplers
from phasewise.settings.hyperparameters import Hyperparameters
from phasewise.settings.loading import study_model
from phasewise.settings.method import MethodSettings
from phasewise.settings.space import Parameter
from phasewise.settings.space_names import DOCUMENTED_NAMES, known_names
from phasewise.settings.task import TaskSettings

_DRAFT = "https://json-schema.org/draft/2020-12/schema"
_Schema = dict[str, Any]
#: What an editor has no use for, or does not hold where any key may be left out.
_DROPPED = ("required", "discriminator", "no_effect", "title")


def _study() -> _Schema:
    schema = study_model().model_json_schema()
    schema["properties"]["extends"] = {
        "type": "string",
        "description": "Study file, relative to this one, that this one changes.",
    }
    search = schema["$defs"]["SearchSettings"]["properties"]
    search["sampler"]["enum"] = [*all_samplers()]
    search["pruner"]["enum"] = [*PRUNERS]
    search["fixed"] |= _define(schema, "Hyperparameters", Hyperparameters.model_json_schema())
    changes, method = schema["properties"], _method()
    method["properties"]["base"] = {
        "type": "string",
        "description": "Registered method that this one is a variant of.",
    }
    changes["tasks"]["additionalProperties"] = _define(schema, "TaskSettings", _task())
    changes["methods"]["additionalProperties"] = _define(schema, "MethodSettings", method)
    return schema


def _task() -> _Schema:
    return TaskSettings.model_json_schema()


def _method() -> _Schema:
    schema = MethodSettings.model_json_schema()
    of_run = _define(schema, "Hyperparameters", Hyperparameters.model_json_schema())
    schema["properties"]["defaults"] |= of_run
    schema["properties"]["defaults_by_task"]["additionalProperties"] = of_run
    return schema


def _space() -> _Schema:
    schema: _Schema = {"type": "object", "additionalProperties": False}
    parameters: TypeAdapter[Any] = TypeAdapter(Parameter)
    each = _define(schema, "Parameter", parameters.json_schema())
    fields = Hyperparameters.model_fields

    def section(names: Mapping[str, str], **more: Any) -> _Schema:
        described = {n: {**each, "description": fields[o].description} for n, o in names.items()}
        return {"type": "object", "properties": described, **more}

    own = section({name: name for name in fields}, additionalProperties=False)
    text = {"type": "string"}
    schema["properties"] = {
        "name": text,
        "description": text,
        "source": {**text, "description": "Where the ranges come from."},
        "constraints": {"type": "array", "items": text},
        "spaces": {"type": "object", "additionalProperties": own},
        # Such a section may name what is told to be without effect.
        **{key: section(known_names(key)) for key in DOCUMENTED_NAMES},
    }
    return schema


#: Kind of file to what makes its schema.
SCHEMAS: dict[str, Callable[[], _Schema]] = {
    "study": _study,
    "task": _task,
    "method": _method,
    "space": _space,
}


def file_schema(kind: str) -> _Schema:
    """Returns the JSON schema of a kind of file, one of ``SCHEMAS``."""
    words = {"$schema": _DRAFT, "title": f"Phasewise: a {kind} file"}
    return {**_loosen(SCHEMAS[kind]()), **words}


def _define(schema: _Schema, name: str, part: _Schema) -> _Schema:
    """Puts a schema into another's definitions, its own beside it; returns a reference to it."""
    definitions = schema.setdefault("$defs", {})
    definitions |= part.pop("$defs", {})
    definitions[name] = part
    return {"$ref": f"#/$defs/{name}"}


def _loosen(node: Any) -> Any:
    """Returns a schema in which any key may be left out or null."""
    if isinstance(node, list):
        return [_loosen(each) for each in node]
    if not isinstance(node, dict):
        return node if isinstance(node, str | int | float | None) else str(node)
    # Without its required keys a row may be of several kinds.
    renamed = {"anyOf" if key == "oneOf" else key: each for key, each in node.items()}
    kept = {key: _loosen(each) for key, each in renamed.items() if key not in _DROPPED}
    if isinstance(node.get("properties"), dict):
        kept["properties"] = {k: _or_null(each) for k, each in kept["properties"].items()}
    return kept


def _or_null(schema: _Schema) -> _Schema:
    words: _Schema = {key: schema[key] for key in ("description", "default") if key in schema}
    rest = {key: each for key, each in schema.items() if key not in words}
    return words | {"anyOf": [rest, {"type": "null"}]}
