"""Presets of the DoRA subset optimization: strategy, trials, focus; one YAML file each."""

from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import Field

from phasewise.settings.base import Section, merge_mappings, read_yaml
from phasewise.settings.parsing import parse_section
from phasewise.settings.registry import require_registered
from phasewise.settings.space_names import WITHOUT_EFFECT, DocumentedSection
from phasewise.settings.target_modules import TargetModules

_S = TypeVar("_S", bound=Section)
_SECTIONS: tuple[DocumentedSection, ...] = ("training", "lora", "data")


class PresetSettings(Section):
    """One file in ``shared/presets/``."""

    name: str
    description: str
    strategy: str = Field(description="File in shared/strategies/, without .yaml.")
    trials: int = Field(ge=1, description="Finished trials of the search.")
    focus: str | None = Field(None, description="File in shared/focuses/, without .yaml.")
    modules: Literal["given", "only"] = Field(
        "given",
        description="given: the focus's, or core. only: the trials are a design over modules.",
    )


class FocusSettings(Section):
    """One file in ``shared/focuses/``: what a kind of task asks for."""

    name: str
    description: str
    task: str | None = Field(None, description="Registered task; null: the user names one.")
    key_modules: TargetModules
    key_parameters: dict[str, str] = Field(description="Documented name to what it is for.")
    ranges: dict[DocumentedSection, dict[str, Any]] = Field(
        default_factory=dict, description="Of key parameters, in place of the strategy's."
    )


class StrategySettings(Section):
    """A strategy in ``shared/strategies/`` with all that it extends."""

    name: str
    description: str
    training: dict[str, Any] = Field(default_factory=dict)
    lora: dict[str, Any] = Field(default_factory=dict)
    data: dict[str, Any] = Field(default_factory=dict)
    set_aside: dict[str, str] = Field(
        default_factory=dict, description="Documented parameters never searched, and why."
    )

    @property
    def parameters(self) -> tuple[str, ...]:
        """All documented names of the strategy, searched or not."""
        return (*self.training, *self.lora, *self.data, *self.set_aside)

    @property
    def left_out(self) -> dict[str, str]:
        """The names that are not searched, and why."""
        idle = [name for name in (*self.training, *self.data) if name in WITHOUT_EFFECT]
        return {**dict.fromkeys(idle, "cannot change a score"), **self.set_aside}

    def build_space(self, focus: FocusSettings | None) -> dict[str, Any]:
        """Returns the search-space file of the strategy, with the focus's ranges.

        A focus's range counts only where the strategy searches the parameter.
        """
        idle = self.left_out
        space: dict[str, Any] = {}
        for section in _SECTIONS:
            own: dict[str, Any] = getattr(self, section)
            wider = focus.ranges.get(section, {}) if focus else {}
            chosen = {k: wider.get(k, body) for k, body in own.items() if k not in idle}
            if chosen:
                space[section] = chosen
        return {"description": self.description, "source": f"strategy {self.name}", **space}


def load_preset(name: str) -> PresetSettings:
    """Returns a preset.

    Raises:
        ConfigError: There is none of that name.
    """
    return parse_section(PresetSettings, *_read("presets", name))


def load_focus(name: str) -> FocusSettings:
    """Returns a focus; errors are those of ``load_preset``."""
    return parse_section(FocusSettings, *_read("focuses", name))


def load_strategy(name: str) -> StrategySettings:
    """Returns a strategy with the parameters of those that it extends."""
    content, file = _read("strategies", name)
    parent = content.pop("extends", None)
    if parent is not None:
        base = load_strategy(str(parent)).model_dump(exclude={"name", "description"})
        content = merge_mappings(base, content)
    return parse_section(StrategySettings, content, file)


def _read(folder: str, name: str) -> tuple[dict[str, Any], Path]:
    file = require_registered(folder, name)
    return {"name": name, **read_yaml(file)}, file
