"""Presets as studies: a strategy's search, or a balanced design over the modules to adapt."""

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from phasewise.errors import ConfigError
from phasewise.recipes.presets.settings import (
    FocusSettings,
    PresetSettings,
    StrategySettings,
    load_focus,
    load_strategy,
)
from phasewise.recipes.request import StudyRequest
from phasewise.recipes.study_writer import bound_lengths, write_study
from phasewise.settings import ModelSettings, load_study
from phasewise.settings.target_modules import join_roles, roles_of
from phasewise.statistics import DESIGN_RUNS, balanced_design, smallest_design

#: The method that presets search.
METHOD = "dora"
#: The modules that a preset without a focus adapts.
DEFAULT_MODULES = "core"
#: Folder of the design's study, below the output folder.
DESIGN_FOLDER = "modules"


class ResolvedPreset(NamedTuple):
    """A preset with the files that it names."""

    settings: PresetSettings
    strategy: StrategySettings
    focus: FocusSettings | None
    trials: int

    @property
    def refine_trials(self) -> int:
        """Trials of the refined search; of another number of trials the same share."""
        share = self.settings.refine_trials / self.settings.trials
        return min(self.trials - 1, round(share * self.trials))

    @property
    def modules(self) -> str:
        """What is adapted unless a design says better."""
        return self.focus.key_modules if self.focus else DEFAULT_MODULES


class ModuleDesign(NamedTuple):
    """Which parts are adapted in each run of a balanced design."""

    parts: tuple[str, ...]  # a layer's roles, joined by + where the family fuses several in one
    table: NDArray[np.bool_]  # (runs, parts)

    @property
    def subsets(self) -> tuple[str, ...]:
        """The runs' target modules, in order."""
        return tuple(self.subset(row) for row in self.table)

    def subset(self, row: NDArray[np.bool_]) -> str:
        """Returns the target modules of a row."""
        chosen = [part for part, on in zip(self.parts, row, strict=True) if on]
        return join_roles(role for part in chosen for role in part.split("+"))


def resolve_preset(settings: PresetSettings, trials: int | None) -> ResolvedPreset:
    """Returns a preset with its strategy and focus.

    Raises:
        ConfigError: One of them is missing.
    """
    focus = load_focus(settings.focus) if settings.focus else None
    strategy = load_strategy(settings.strategy)
    return ResolvedPreset(settings, strategy, focus, trials or settings.trials)


def plan_design(
    model: ModelSettings, *, outside: tuple[str, ...] = (), most_runs: int | None = None
) -> ModuleDesign:
    """Returns a balanced design over the layers that a model's family tells apart.

    Args:
        model: Its config names the family; no weights are read.
        outside: Roles outside the blocks (embedding, lm_head) that are parts too.
        most_runs: At most so many runs; None: the smallest design with an error of its own.

    Raises:
        ConfigError: The family is not known, or no design has so few runs.
    """
    from phasewise.methods.models import read_family
    from phasewise.methods.modules import family_roles

    family = read_family(model)
    layers = family_roles(family)
    if layers is None:
        raise ConfigError(
            f"model.source: {model.source}: its family '{family}' is not known, so its modules "
            "cannot be told apart; compare groups with `phasewise ablate module_sweep`"
        )
    parts = (*("+".join(roles) for roles in layers.values()), *outside)
    if most_runs is None:
        runs = smallest_design(len(parts))
    else:
        runs = max((n for n in DESIGN_RUNS if n <= most_runs), default=0)
    return ModuleDesign(parts, balanced_design(len(parts), runs))


def write_search_study(
    preset: ResolvedPreset, request: StudyRequest, modules: str | None = None
) -> Path:
    """Writes the study that searches the strategy's parameters; returns its file.

    Args:
        preset: The preset.
        request: Model, data and machine.
        modules: What is adapted; None: the preset's.
    """
    request = _with_task(preset, request)
    fixed = {"target_modules": modules or preset.modules, **request.fixed}
    content = {
        **_describe(preset, request.output_dir),
        "search": {
            "trials": preset.trials - preset.refine_trials,
            "fixed": fixed,
            "sampler": "schedule",
        },
    }
    return write_study(
        request.output_dir,
        request.complete(content),
        space=bound_lengths(preset.strategy.build_space(preset.focus), request.max_length),
    )


def write_design_study(
    preset: ResolvedPreset, request: StudyRequest, *, seeds: int, most_runs: int | None
) -> tuple[Path, ModuleDesign]:
    """Writes the study whose grid is a balanced design over modules; returns its file and design.

    Everything but the modules holds the published default, or ``request.fixed``.

    Args:
        preset: The preset; a focus that names embedding or head makes them parts.
        request: Model, data and machine.
        seeds: Runs of each configuration; 1, or 3 and more.
        most_runs: As in ``plan_design``.
    """
    request = _with_task(preset, request)
    folder = request.output_dir / DESIGN_FOLDER
    draft = write_study(
        folder, request.complete(_describe(preset, folder)), space=preset.strategy.build_space(None)
    )
    study = load_study(draft)
    generative = all(task.traits.generates for task in study.tasks.values())
    outside = [role for role in roles_of(preset.modules) if role in ("embedding", "lm_head")]
    design = plan_design(
        study.settings.model,
        outside=tuple(role for role in outside if generative or role != "lm_head"),
        most_runs=most_runs,
    )
    runs = len(design.subsets)
    search: dict[str, Any] = {"sampler": "grid", "pruner": "none", "trials": runs}
    search |= {"confirm_top": runs, "confirm_seeds": seeds - 1} if seeds > 1 else {"confirm_top": 1}
    space = {
        "description": "A balanced design over modules.",
        "source": "statistics.designs",
        "lora": {"target_modules": {"type": "categorical", "values": list(design.subsets)}},
    }
    content = {
        **_describe(preset, folder),
        "search": {**search, "fixed": dict(request.fixed)},
    }
    return write_study(folder, request.complete(content), space=space), design


def _describe(preset: ResolvedPreset, folder: Path) -> dict[str, Any]:
    name = preset.settings.name
    return {
        "name": f"{name}_modules" if folder.name == DESIGN_FOLDER else name,
        "description": preset.settings.description,
        "methods": {METHOD: {}},
    }


def _with_task(preset: ResolvedPreset, request: StudyRequest) -> StudyRequest:
    """Lets the focus name the task where the user has not."""
    if request.task is not None or request.study is not None or preset.focus is None:
        return request
    if preset.focus.task is None:
        raise ConfigError(
            f"focus '{preset.focus.name}' has no task of its own: give --task and, for data of "
            "your own, --dataset"
        )
    return replace(request, task=preset.focus.task)
