"""Search spaces: one YAML in ``shared/spaces/``, a section for each kind of method."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from phasewise.settings.base import Section
from phasewise.settings.hyperparameters import Hyperparameters

Scalar = bool | int | float | str


class RangeParameter(Section):
    """A number between ``min`` and ``max``, both included."""

    type: Literal["uniform", "log_uniform", "int", "log_int"]
    min: float
    max: float
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
        return self


class CategoricalParameter(Section):
    """One of several values."""

    type: Literal["categorical"]
    values: tuple[Scalar, ...] = Field(min_length=1)


class FixedParameter(Section):
    """A value that this study does not search."""

    type: Literal["fixed"]
    value: Scalar


Parameter = Annotated[
    RangeParameter | CategoricalParameter | FixedParameter, Field(discriminator="type")
]


class SpaceSettings(Section):
    """The ranges that Phase 1 draws from, by the name in a method's ``space`` key."""

    name: str
    description: str = ""
    source: str = Field(description="Where the ranges come from.")
    spaces: dict[str, dict[str, Parameter]]

    @model_validator(mode="after")
    def _check_parameters(self) -> "SpaceSettings":
        known = set(Hyperparameters.model_fields)
        for section, parameters in self.spaces.items():
            if unknown := sorted(set(parameters) - known):
                raise ValueError(
                    f"spaces.{section}: unknown hyperparameter '{unknown[0]}'; "
                    f"known: {', '.join(sorted(known))}"
                )
        return self
