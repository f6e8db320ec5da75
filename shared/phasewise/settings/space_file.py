"""Reads search-space files; what is wrong is refused by name and line.

Two forms: ``spaces:`` with one section per method (ours), or ``training:``, ``lora:`` and
``data:`` with the names of the LLM guide, which together are the default section.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, NoReturn, get_args

import yaml
from pydantic import TypeAdapter, ValidationError

from phasewise.errors import ConfigError, suggest_nearest
from phasewise.settings.base import Section, read_scalar, read_yaml
from phasewise.settings.expressions import expression_names, is_true, rename
from phasewise.settings.hyperparameters import Hyperparameters
from phasewise.settings.parsing import YAML_TRUTHS, describe_error, error_location
from phasewise.settings.space import (
    DEFAULT_SECTION,
    PARAMETER_TYPES,
    CategoricalParameter,
    FixedParameter,
    Parameter,
    RangeParameter,
    Scalar,
    SpaceSettings,
    constrainable,
    order_by_condition,
)
from phasewise.settings.space_names import (
    CHANGES_SCORED_SET,
    DOCUMENTED_NAMES,
    WITHOUT_EFFECT,
    known_names,
    short_names,
)

_PARAMETER: TypeAdapter[RangeParameter | CategoricalParameter | FixedParameter] = TypeAdapter(
    Parameter
)
_PARAMETER_CLASSES: dict[str, type[Section]] = {
    "categorical": CategoricalParameter,
    "fixed": FixedParameter,
}
_FORM = "expected `spaces:` (one section per method), or `training:`, `lora:` and `data:`"
_ALLOWED = ("name", "description", "source", "constraints")


def read_space(file: Path, name: str) -> SpaceSettings:
    """Returns the search space in a file.

    Args:
        file: YAML of either form.
        name: What messages and records call it.

    Raises:
        ConfigError: The file is missing, empty, misspelt or contradictory; with name and line.
    """
    content = read_yaml(file)
    if not content:
        raise ConfigError(f"{file}: the file is empty; {_FORM}")
    return _SpaceFile(file, content).read(name)


class _SpaceFile:
    """One file while it is read."""

    def __init__(self, file: Path, content: dict[str, Any]) -> None:
        self._file = file
        self._content = content
        self._root = yaml.compose(file.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
        self._notes: list[str] = []

    def read(self, name: str) -> SpaceSettings:
        documented = "spaces" not in self._content
        known = [*_ALLOWED, *(DOCUMENTED_NAMES if documented else ["spaces"])]
        for key in self._content:
            if key not in known:
                self._refuse((str(key),), f"unknown key{suggest_nearest(str(key), known)}; {_FORM}")
        spaces = self._read_documented() if documented else self._read_sections()
        for key in ("description", "source"):
            if not isinstance(self._content.get(key, ""), str):
                self._refuse((key,), "expected a text")
        ordered = {section: self._order(section, spaces[section]) for section in spaces}
        return SpaceSettings(
            name=name,
            description=self._content.get("description", ""),
            source=self._content.get("source", str(self._file)),
            spaces=ordered,
            constraints=self._read_constraints(ordered),
            notes=tuple(self._notes),
        )

    def _read_documented(self) -> dict[str, dict[str, Parameter]]:
        read: dict[str, dict[str, Parameter]] = {}
        for section in DOCUMENTED_NAMES:
            names = known_names(section)
            read[section] = self._read_parameters((section,), names.get, list(names))
        if not any(read.values()):
            raise ConfigError(f"{self._file}: holds no parameter; {_FORM}")
        return {DEFAULT_SECTION: {**read["training"], **read["data"], **read["lora"]}}

    def _read_sections(self) -> dict[str, dict[str, Parameter]]:
        sections, names = self._content["spaces"], list(Hyperparameters.model_fields)
        if not isinstance(sections, dict) or not sections:
            self._refuse(("spaces",), "expected a section for each method")
        exact = {name: name for name in names}.get
        return {s: self._read_parameters(("spaces", s), exact, names) for s in sections}

    def _read_parameters(
        self, keys: tuple[str, ...], our_name: Callable[[str], str | None], known: list[str]
    ) -> dict[str, Parameter]:
        content: Any = self._content
        for key in keys:
            content = content.get(key) or {}
        if not isinstance(content, dict):
            self._refuse(keys, "expected `parameter: {type: …}` lines")
        read: dict[str, Parameter] = {}
        for written, body in content.items():
            where = (*keys, str(written))
            if written in WITHOUT_EFFECT:
                self._notes.append(
                    f"{self._file}: {'.'.join(where)} cannot change a score: it is not searched"
                )
                continue
            if written in CHANGES_SCORED_SET:
                self._refuse(where, "changes which examples are scored; it cannot be searched")
            name = our_name(str(written))
            if name is None:
                self._refuse(where, f"unknown hyperparameter{suggest_nearest(str(written), known)}")
            if name in read:
                self._refuse(where, f"{name} is given twice, by two of its names")
            read[name] = self._read_parameter(where, name, body)
        return read

    def _read_parameter(self, where: tuple[str, ...], name: str, body: Any) -> Parameter:
        if not isinstance(body, dict):
            self._refuse(
                where, f"expected {{type: …}}, got {body!r}; one value: {{type: fixed, …}}"
            )
        kind = body.get("type")
        if kind not in PARAMETER_TYPES:
            near = suggest_nearest(str(kind), PARAMETER_TYPES)
            self._refuse((*where, "type"), f"unknown type '{kind}'{near}")
        try:
            parameter = _PARAMETER.validate_python(_with_numbers(name, body))
        except ValidationError as error:
            text = describe_error(error, _PARAMETER_CLASSES.get(str(kind), RangeParameter))
            text = text.removeprefix("RangeParameter: ").partition(", got {")[0]
            self._refuse((*where, *error_location(error)), text, shown=where)
        self._check_values(where, name, parameter)
        if parameter.when is None:
            return parameter
        return parameter.model_copy(update={"when": self._rename(where, parameter.when)})

    def _check_values(self, where: tuple[str, ...], name: str, parameter: Parameter) -> None:
        field = Hyperparameters.model_fields[name]
        annotation: Any = field.annotation
        for constraint in field.metadata:
            annotation = Annotated[annotation, constraint]
        adapter = TypeAdapter(annotation)
        for value in example_values(parameter):
            if isinstance(value, bool):  # which pydantic takes for 0 or 1
                self._refuse(where, f"got {str(value).lower()}: {YAML_TRUTHS}")
            try:
                adapter.validate_python(value)
            except ValidationError as error:
                message = error.errors()[0]["msg"]
                self._refuse(where, f"{message[0].lower()}{message[1:]}, got {value!r}")

    def _rename(self, where: tuple[str, ...], text: str) -> str:
        try:
            return rename(text, short_names())
        except ValueError as error:
            self._refuse(where, str(error))

    def _order(self, section: str, parameters: dict[str, Parameter]) -> dict[str, Parameter]:
        for name, parameter in parameters.items():
            if parameter.when is not None:
                self._check_names(self._place(name), parameter.when, parameters, parameters)
        try:
            return order_by_condition(parameters)
        except ValueError as error:
            first = str(error).partition(": ")[2].partition(" -> ")[0]
            self._refuse(self._place(first), str(error))

    def _check_names(
        self,
        where: tuple[str, ...],
        text: str,
        known: Mapping[str, Parameter] | set[str],
        parameters: Mapping[str, Parameter],
    ) -> None:
        for name in expression_names(text):
            if name not in known:
                near = suggest_nearest(name, known)
                self._refuse(where, f"'{text}' names '{name}', which is not in the space{near}")
        first = {n: example_values(p)[0] for n, p in parameters.items()}
        try:
            is_true(text, {"lora_alpha": 1.0, **first})
        except ValueError as error:
            self._refuse(where, str(error))

    def _read_constraints(self, spaces: dict[str, dict[str, Parameter]]) -> tuple[str, ...]:
        given = self._content.get("constraints") or []
        if not isinstance(given, list) or not all(isinstance(text, str) for text in given):
            self._refuse(("constraints",), "expected a list of comparisons such as alpha >= r")
        read = []
        for text in given:
            renamed = self._rename(("constraints",), text)
            names = set(expression_names(renamed))
            fitting = [p for p in spaces.values() if names <= constrainable(p)]
            every = set().union(*(constrainable(p) for p in spaces.values()))
            parameters = fitting[0] if fitting else {}
            self._check_names(("constraints",), renamed, every, parameters)
            if not fitting:
                self._refuse(("constraints",), f"'{text}' names parameters of two sections")
            read.append(renamed)
        return tuple(read)

    def _place(self, name: str) -> tuple[str, ...]:
        """Returns the keys at which the file first defines a hyperparameter."""
        if "spaces" in self._content:
            sections = self._content["spaces"]
            return next(("spaces", s, name) for s in sections if name in (sections[s] or {}))
        for section in DOCUMENTED_NAMES:
            for written in self._content.get(section) or {}:
                if known_names(section).get(written) == name:
                    return (section, str(written))
        raise AssertionError(name)

    def _refuse(
        self, keys: tuple[str, ...], problem: str, *, shown: tuple[str, ...] | None = None
    ) -> NoReturn:
        where = ".".join(shown or keys)
        raise ConfigError(f"{self._file}: line {self._line(keys)}: {where}: {problem}")

    def _line(self, keys: tuple[str, ...]) -> int:
        """Returns the line of the innermost of these keys that the file has."""
        node, line = self._root, 1
        for key in keys:
            if not isinstance(node, yaml.MappingNode):
                break
            found = [(k, v) for k, v in node.value if k.value == key]
            if not found:
                break
            line, node = found[0][0].start_mark.line + 1, found[0][1]
        return line


def example_values(parameter: Parameter) -> list[Scalar]:
    """Returns values that stand for all of a parameter: its ends, or each of its list."""
    if isinstance(parameter, CategoricalParameter):
        return list(parameter.values)
    if isinstance(parameter, FixedParameter):
        return [parameter.value]
    if parameter.type.endswith("int"):
        return [int(parameter.min), int(parameter.max)]
    return [parameter.min, parameter.max]


def _with_numbers(name: str, body: dict[str, Any]) -> dict[str, Any]:
    """Returns the mapping with quoted numbers read as numbers: ``"1e-6"``."""
    annotation = Hyperparameters.model_fields[name].annotation
    kinds = {annotation, *get_args(annotation)}
    if not kinds & {int, float}:
        return body
    converted = dict(body)
    for key in ("value", "values"):
        given = body.get(key)
        if isinstance(given, list):
            converted[key] = [_as_number(value) for value in given]
        elif given is not None:
            converted[key] = _as_number(given)
    return converted


def _as_number(value: Any) -> Any:
    number = read_scalar(value) if isinstance(value, str) else None
    return number if isinstance(number, int | float) and not isinstance(number, bool) else value
