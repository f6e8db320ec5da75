"""Search spaces: what Phase 1 may draw, one section per method or one for all."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, model_validator

from phasewise.settings.base import Section
from phasewise.settings.expressions import expression_names, is_true
from phasewise.settings.method import MethodSettings

Scalar = bool | int | float | str


class _Conditional(Section):
    """What all parameters share."""

    when: str | None = Field(
        None,
        description="Comparison of other parameters; where it is false, or names one that is not "
        "drawn either, the parameter is not drawn and holds the method's default.",
    )


class RangeParameter(_Conditional):
    """A number between ``min`` and ``max``, both included."""

    type: Literal["uniform", "log_uniform", "int", "log_int"] = Field(
        description="log: every factor of ten is drawn equally often."
    )
    min: float = Field(description="Smallest value.")
    max: float = Field(description="Largest value.")
    step: float | None = Field(None, gt=0, description="uniform and int only.")

    @model_validator(mode="after")
    def _check_range(self) -> "RangeParameter":
        if self.min >= self.max:
            raise ValueError(f"min {self.min:g} must be below max {self.max:g}")
        if self.type.startswith("log") and self.min <= 0:
            raise ValueError(f"{self.type} needs min > 0, got {self.min:g}")
        if self.type.startswith("log") and self.step is not None:
            raise ValueError(f"{self.type} takes no step")
        if self.type.endswith("int") and not (self.min.is_integer() and self.max.is_integer()):
            raise ValueError(f"{self.type} needs whole min and max")
        if self.type == "int" and self.step is not None and not self.step.is_integer():
            raise ValueError(f"int needs a whole step, got {self.step:g}")
        return self


class CategoricalParameter(_Conditional):
    """One of several values."""

    type: Literal["categorical"] = Field(description="A list.")
    values: tuple[Scalar, ...] = Field(min_length=1, description="One of these is drawn.")


class FixedParameter(_Conditional):
    """A value that this study does not search."""

    type: Literal["fixed"] = Field(description="No draw.")
    value: Scalar = Field(description="What every trial has.")


Parameter = Annotated[
    RangeParameter | CategoricalParameter | FixedParameter, Field(discriminator="type")
]
#: The section of methods that have none of their own.
DEFAULT_SECTION = "default"
#: The types a parameter may have.
PARAMETER_TYPES = ("log_uniform", "uniform", "int", "log_int", "categorical", "fixed")


class SpaceSettings(Section):
    """A search-space file; ``space_file.read_space`` makes it from YAML."""

    name: str
    description: str = ""
    source: str = Field(description="Where the ranges come from.")
    spaces: dict[str, dict[str, Parameter]] = Field(
        description="Section to its parameters; one comes after those its `when` names."
    )
    constraints: tuple[str, ...] = Field((), description="Comparisons that every draw must meet.")
    notes: tuple[str, ...] = Field((), description="What a person should know of the file.")

    def section_of(self, method: MethodSettings) -> str:
        """Returns the name of the section that a method draws from.

        Raises:
            ValueError: There is none for it, nor a default; the message names those there are.
        """
        if method.space in self.spaces:
            return method.space
        if DEFAULT_SECTION in self.spaces:
            return DEFAULT_SECTION
        raise ValueError(
            f"search space '{self.name}' has no section '{method.space}', which method "
            f"'{method.name}' needs, and no section '{DEFAULT_SECTION}'; "
            f"it has: {', '.join(self.spaces)}"
        )

    def parameters_of(self, method: MethodSettings) -> dict[str, Parameter]:
        """Returns what a method draws; of the default section, which all share, what it takes.

        Raises:
            ValueError: As in ``section_of``.
        """
        section = self.section_of(method)
        parameters = self.spaces[section]
        if section != DEFAULT_SECTION:
            return dict(parameters)
        return {name: each for name, each in parameters.items() if method.takes(name)}

    def notes_on(self, method: MethodSettings) -> tuple[str, ...]:
        """Returns what a person should know of the file, and of the section that a method gets."""
        if len(self.spaces) == 1 or self.section_of(method) != DEFAULT_SECTION:
            return self.notes
        note = f"{method.name}: search space '{self.name}' has no section '{method.space}'; "
        return (*self.notes, f"{note}its section '{DEFAULT_SECTION}' is used")

    def constraints_on(self, parameters: Mapping[str, Parameter]) -> tuple[str, ...]:
        """Returns the constraints whose names a section's parameters can give values."""
        known = constrainable(parameters)
        return tuple(c for c in self.constraints if set(expression_names(c)) <= known)


def applies(parameter: Parameter, values: Mapping[str, Scalar]) -> bool:
    """Returns whether a parameter was drawn, given all hyperparameters of a run."""
    return parameter.when is None or is_true(parameter.when, values)


def constrainable(parameters: Mapping[str, Parameter]) -> set[str]:
    """Returns the names that a constraint on these parameters may use."""
    names = set(parameters)
    return names | {"lora_alpha"} if "lora_alpha_over_rank" in names else names


def order_by_condition(parameters: Mapping[str, Parameter]) -> dict[str, Parameter]:
    """Returns the parameters so that each comes after those its ``when`` names.

    Raises:
        ValueError: Conditions form a cycle; the message shows it.
    """
    ordered: dict[str, Parameter] = {}

    def place(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            cycle = " -> ".join((*path[path.index(name) :], name))
            raise ValueError(f"conditions form a cycle: {cycle}; remove one `when`")
        if name in ordered:
            return
        condition = parameters[name].when
        for parent in expression_names(condition) if condition else ():
            if parent in parameters:
                place(parent, (*path, name))
        ordered[name] = parameters[name]

    for name in parameters:
        place(name, ())
    return ordered
