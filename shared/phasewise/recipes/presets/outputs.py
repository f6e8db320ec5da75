"""The files that a preset ends with, as the DoRA subset document names them."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from phasewise.figures import collect_trials, compute_importance
from phasewise.recipes.presets.module_analysis import ModuleAnalysis, describe_modules, llama_names
from phasewise.recipes.presets.optuna_export import export_trials
from phasewise.recipes.presets.study import ResolvedPreset
from phasewise.recipes.trials import read_trials
from phasewise.records import write_json
from phasewise.runs import UnitPaths
from phasewise.settings import Study, group_as_documented
from phasewise.summaries import Optimum

RESULTS_FOLDER = "final_results"
DATABASE_FILE = "optimization.db"


def write_preset_outputs(
    preset: ResolvedPreset,
    study: Study,
    unit: tuple[str, str],
    optimum: Optimum,
    *,
    folder: Path,
    modules: ModuleAnalysis | None,
    earlier: Sequence[Study] = (),
) -> None:
    """Writes ``final_results/*.json`` and ``optimization.db``.

    Args:
        preset: The preset.
        study: The study that was searched.
        unit: Its task and method.
        optimum: Of the unit, final.
        folder: Where they go; earlier ones are replaced.
        modules: What a design over modules found; None: there was none.
        earlier: Studies that were searched before it: of the design, of a coarse search.
    """
    results = folder / RESULTS_FOLDER
    chosen = dict(optimum.best_hyperparameters)
    if modules is not None:  # of a design, the best trial is its luckiest
        chosen["target_modules"] = modules.modules(preset.modules)
    write_json(results / "best_config.json", _describe_best(chosen))
    write_json(results / "study_summary.json", _summarize(preset, study, unit, optimum))
    write_json(results / "module_analysis.json", _describe_modules(preset, study, unit, modules))
    write_json(results / "search_space_analysis.json", _describe_space(preset, study, unit))
    sources = [
        (UnitPaths(each, *unit).storage, f"{each.settings.name}_{'_'.join(unit)}")
        for each in (study, *earlier)
    ]
    export_trials(sources, folder / DATABASE_FILE)


def _describe_best(chosen: dict[str, Any]) -> dict[str, Any]:
    content: dict[str, Any] = group_as_documented(chosen)
    if "target_modules" in chosen:
        names = llama_names(str(chosen["target_modules"])).split("+")
        content.setdefault("lora", {})["target_modules"] = names
    return {**content, "use_dora": True}


def _summarize(
    preset: ResolvedPreset, study: Study, unit: tuple[str, str], optimum: Optimum
) -> dict[str, Any]:
    records = read_trials(study, *unit)
    costs = [record.cost for record in records if record.cost is not None]
    peaks = [cost.peak_memory_mb for cost in costs if cost.peak_memory_mb is not None]
    return {
        "preset": preset.settings.name,
        "strategy": preset.strategy.name,
        "focus": None if preset.focus is None else preset.focus.name,
        "task": unit[0],
        "method": unit[1],
        "metric": optimum.metric,
        "direction": optimum.direction,
        "trials": optimum.n_trials,
        "trial_states": optimum.trial_states,
        "best_trial": optimum.best_trial,
        "best_value": optimum.best_value,
        "S_improved": optimum.best_value
        if optimum.confirmed_value is None
        else optimum.confirmed_value,
        "S_improved_standard_error": optimum.confirmed_standard_error,
        "S_baseline": optimum.baseline_value,
        "S": optimum.improvement,
        "S_means": "S_improved - S_baseline on the search set, signed so that higher is better; "
        f"S_improved is the mean of {optimum.confirmed_seeds} fresh seeds",
        "S_is_of": f"trial {optimum.best_trial}"
        + (
            ", the best of a design; best_config.json has the modules of module_analysis.json"
            if preset.settings.modules == "only"
            else ""
        ),
        "train_seconds": sum(cost.train_seconds for cost in costs),
        "median_seconds_per_trial": median([c.total_seconds for c in costs]) if costs else None,
        "largest_peak_memory_mb": max(peaks, default=None),
        "costs_are": "shares: runs that trained together share seconds by tokens, and their peak "
        "memory is that of all"
        if any(record.environment.get("engine") == "packed" for record in records)
        else "each run's own",
        "success_criteria": [each.model_dump() for each in optimum.success_criteria],
        "range_flags": [each.model_dump() for each in optimum.range_flags],
    }


def _describe_modules(
    preset: ResolvedPreset, study: Study, unit: tuple[str, str], modules: ModuleAnalysis | None
) -> dict[str, Any]:
    if modules is not None:
        return describe_modules(modules, preset.modules)
    adapted = llama_names(str(study.settings.search.fixed["target_modules"])).split("+")
    return {
        "module_average_scores": None,
        "recommended_modules": adapted,
        "recommended_because": "they were given, not compared: every trial adapted the same "
        "modules. --optimize-modules compares them in a balanced design",
        "module_effects": None,
    }


def _describe_space(preset: ResolvedPreset, study: Study, unit: tuple[str, str]) -> dict[str, Any]:
    task, method = unit
    records = read_trials(study, task, method)
    parameters = study.parameters_of(method)
    importance = compute_importance(collect_trials(records, parameters))
    values = [record.config.hyperparameters.model_dump(mode="json") for record in records]
    key = {} if preset.focus is None else preset.focus.key_parameters
    return {
        "strategy": preset.strategy.name,
        "documented_parameters": list(preset.strategy.parameters),
        "not_searched": preset.strategy.left_out,
        "key_parameters": {name: why for name, why in key.items()},
        "parameters": {
            name: {
                **parameter.model_dump(mode="json", exclude_none=True),
                "drawn": dict(Counter(str(each[name]) for each in values)),
            }
            for name, parameter in parameters.items()
        },
        "importance": {
            each.name: {"share": each.share, "interval_95": list(each.interval)}
            for each in importance.parameters
        },
        "importance_warning": importance.warning,
        "notes": list(study.space.notes),
    }
