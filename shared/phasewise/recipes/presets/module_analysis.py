"""What each module is worth: effects of a balanced design, and their ratio to its weights."""

from typing import Any, NamedTuple

import numpy as np

from phasewise.errors import RecordError
from phasewise.records import RunRecord
from phasewise.settings import Study
from phasewise.settings.target_modules import LLAMA_NAMES, join_roles, roles_of
from phasewise.statistics import PartEffects, estimate_part_effects, split_linearly
from phasewise.unit_runs import read_runs

_MILLION = 1e6
#: A module is recommended below this p-value, corrected for the number of modules.
SIGNIFICANCE = 0.05
_ONE_SEED = "; all runs share one seed, so the effects hold for its sample of the data"


class ModuleAnalysis(NamedTuple):
    """Effects of the parts of a design, higher is better."""

    metric: str
    effects: PartEffects
    weights: dict[str, float]  # trained weights that a part adds
    recommended: tuple[str, ...]  # parts, the most efficient first; none where nothing is shown
    configurations_left_out: int  # without a score

    def modules(self, otherwise: str) -> str:
        """Returns what to adapt: what is recommended, or something else where nothing is."""
        if not self.recommended:
            return otherwise
        return join_roles(role for part in self.recommended for role in part.split("+"))


def analyse_modules(study: Study, task: str, method: str, parts: tuple[str, ...]) -> ModuleAnalysis:
    """Estimates what each part of a module design adds.

    Args:
        study: The design's study, searched.
        task: Its task.
        method: Its method.
        parts: Of the design.

    Raises:
        RecordError: Too few configurations have a score.
    """
    by_subset = _collect(study, task, method)
    seeds = sorted(set.intersection(*(set(runs) for runs in by_subset.values())))
    design = np.array([_row(subset, parts) for subset in by_subset])
    settings = study.tasks[task]
    sign = 1.0 if settings.direction == "maximize" else -1.0
    scores = np.array(
        [[sign * (runs[seed].search_score or 0.0) for seed in seeds] for runs in by_subset.values()]
    )
    effects = estimate_part_effects(parts, design, scores)
    costs = [next(iter(runs.values())).cost for runs in by_subset.values()]
    trained = [cost.trainable_parameters if cost else 0 for cost in costs]
    weights = split_linearly(parts, design, trained)
    shown = [part for part in effects.parts if part.effect > 0 and part.p_holm < SIGNIFICANCE]
    ranked = sorted(shown, key=lambda part: -part.effect / max(weights[part.name], 1.0))
    wanted = study.settings.search.trials
    return ModuleAnalysis(
        settings.metric,
        effects,
        weights,
        tuple(part.name for part in ranked),
        wanted - len(by_subset),
    )


def describe_modules(analysis: ModuleAnalysis, otherwise: str) -> dict[str, Any]:
    """Returns ``module_analysis.json``: documented keys first, with Llama's names."""
    parts, effects = analysis.effects.parts, analysis.effects
    shown = [llama_names(part) for part in analysis.recommended]
    kept = llama_names(otherwise)
    return {
        "module_average_scores": {llama_names(part.name): part.mean_with for part in parts},
        "recommended_modules": [name for part in (shown or [kept]) for name in part.split("+")],
        "recommended_because": (
            f"their effect is above 0, Holm p below {SIGNIFICANCE}; most effect per trained weight "
            "first"
            if shown
            else f"no module's effect is shown to be above 0, so {otherwise} stays"
        ),
        "score": f"{analysis.metric} on the search set, signed so that higher is better",
        "module_effects": {
            llama_names(part.name): {
                "effect": part.effect,
                "interval_95": list(part.interval),
                "p_value": part.p_value,
                "p_holm": part.p_holm,
                "trained_weights": round(analysis.weights[part.name]),
                "efficiency_per_million_weights": _MILLION
                * part.effect
                / max(analysis.weights[part.name], 1.0),
            }
            for part in parts
        },
        "design": {
            "configurations": effects.configurations,
            "configurations_without_score": analysis.configurations_left_out,
            "seeds": effects.seeds,
            "degrees_of_freedom": effects.degrees_of_freedom,
            "error_from": effects.error_from,
            "confounded": [
                [llama_names(a), llama_names(b), value] for a, b, value in effects.confounded
            ],
        },
        "note": "an average score is that of all runs with the module, whatever else they adapt; "
        "only the effects compare modules" + (_ONE_SEED if effects.seeds == 1 else ""),
    }


def llama_names(target_modules: str) -> str:
    """Returns a group or joined roles by the names of Llama's layers."""
    return "+".join(LLAMA_NAMES[role] for role in roles_of(target_modules))


def _row(subset: str, parts: tuple[str, ...]) -> list[bool]:
    chosen = set(roles_of(subset))
    return [set(part.split("+")) <= chosen for part in parts]


def _collect(study: Study, task: str, method: str) -> dict[str, dict[str, RunRecord]]:
    """Returns target modules to seed to run; only of configurations with a score on every seed."""
    found: dict[str, dict[str, RunRecord]] = {}
    for role in ("trial", "confirm"):
        for record in read_runs(study, task, method, phase="phase1", role=role).records:
            if record.status != "finished" or record.search_score is None:
                continue
            subset = record.config.hyperparameters.target_modules
            key = role if role == "trial" else f"{role}-{record.config.repeat}"
            found.setdefault(subset, {})[key] = record
    found = {subset: runs for subset, runs in found.items() if "trial" in runs}
    if len(found) < 2:
        raise RecordError(f"{task}/{method}: {len(found)} configurations of modules have a score")
    return found
