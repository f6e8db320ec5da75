"""Presets of the DoRA subset optimization: strategy, trials, focus; one YAML file each."""

from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import Field

from phasewise.errors import ConfigError
from phasewise.settings.base import Section, merge_mappings, read_yaml
from phasewise.settings.parsing import parse_section
from phasewise.settings.registry import require_registered
from phasewise.settings.space_names import WITHOUT_EFFECT, DocumentedSection
from phasewise.settings.target_modules import TargetModules

_S = TypeVar("_S", bound=Section)
_SECTIONS: tuple[DocumentedSection, ...] = ("training", "lora", "data")


class PresetSettings(Section):
    """One file in ``shared/presets/``."""

    name: str = Field(description="The file's name.")
    description: str = Field(description="One sentence for `phasewise list`.")
    strategy: str = Field(description="File in shared/strategies/, without .yaml.")
    trials: int = Field(ge=1, description="Finished trials of the search.")
    focus: str | None = Field(None, description="File in shared/focuses/, without .yaml.")
    refine_trials: int = Field(
        0,
        ge=0,
        description="Of the trials, so many search ranges that are narrowed around the best of "
        "those before.",
    )
    time: str = Field("", description="What its document says it takes, on that machine.")
    modules: Literal["given", "only"] = Field(
        "given",
        description="given: the focus's, or core. only: the trials are a design over modules.",
    )


class FocusSettings(Section):
    """One file in ``shared/focuses/``: what a kind of task asks for."""

    name: str = Field(description="The file's name.")
    description: str = Field(description="One sentence for `phasewise list`.")
    task: str | None = Field(None, description="Registered task; null: the user names one.")
    key_modules: TargetModules = Field(description="Layers that adapters go to.")
    key_parameters: dict[str, str] = Field(description="Documented name to what it is for.")
    ranges: dict[DocumentedSection, dict[str, Any]] = Field(
        default_factory=dict, description="Of key parameters, in place of the strategy's."
    )


class StrategySettings(Section):
    """A strategy in ``shared/strategies/`` with all that it extends."""

    name: str = Field(description="The file's name.")
    description: str = Field(description="One sentence for `phasewise list`.")
    training: dict[str, Any] = Field(
        default_factory=dict, description="Parameters as in a search space's `training:`."
    )
    lora: dict[str, Any] = Field(
        default_factory=dict, description="Parameters as in a search space's `lora:`."
    )
    data: dict[str, Any] = Field(
        default_factory=dict, description="Parameters as in a search space's `data:`."
    )
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
    """Returns a preset: a name in ``shared/presets/``, or a YAML file.

    A file may name a strategy and a focus by files too, relative to itself.

    Raises:
        ConfigError: There is none of that name.
    """
    content, file = _read("presets", name)
    for key in ("strategy", "focus"):
        if _is_file(content.get(key)):
            content[key] = str(file.parent / content[key])
    settings = parse_section(PresetSettings, content, file)
    if settings.refine_trials >= settings.trials:
        raise ConfigError(f"{file}: refine_trials: expected fewer than trials, {settings.trials}")
    return settings


def load_focus(name: str) -> FocusSettings:
    """Returns a focus, as ``load_preset`` does a preset."""
    return parse_section(FocusSettings, *_read("focuses", name))


def load_strategy(name: str) -> StrategySettings:
    """Returns a strategy, a name or a file, with the parameters of those that it extends."""
    content, file = _read("strategies", name)
    parent = content.pop("extends", None)
    if parent is not None:
        above = str(file.parent / parent) if _is_file(parent) else str(parent)
        base = load_strategy(above).model_dump(exclude={"name", "description"})
        content = merge_mappings(base, content)
    return parse_section(StrategySettings, content, file)


def _read(folder: str, name: str) -> tuple[dict[str, Any], Path]:
    file = Path(name) if _is_file(name) else require_registered(folder, name)
    return {"name": file.stem, **read_yaml(file)}, file


def _is_file(name: object) -> bool:
    return str(name).endswith((".yaml", ".yml"))
