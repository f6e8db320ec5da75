"""Final models of a suite's experiments: ``output/rank_ablation_r16/final_model``."""

from collections.abc import Callable
from pathlib import Path

from phasewise.inference.final import train_final
from phasewise.recipes.suites.folder import StoredSuite
from phasewise.recipes.suites.settings import Experiment, Suite
from phasewise.recipes.suites.study import find_experiment
from phasewise.runs import UnitPaths
from phasewise.settings import ALL_SHARD, Study
from phasewise.statistics import summarize_scores
from phasewise.summaries import Optimum, read_optimum, write_optimum
from phasewise.unit_runs import read_runs

MODELS_FOLDER = "output"
MODEL_FOLDER = "final_model"
_OPTIMUM_FILE = "optimal.yaml"


def train_experiment_models(
    stored: StoredSuite, folder: Path, say: Callable[[str], None]
) -> list[Path]:
    """Trains one model of each experiment; those that are there already are kept.

    Args:
        stored: The suite; units of it that have not ended are left out.
        folder: ``output/{type}_{experiment}/final_model`` is written below it.
        say: Gets a line for each event.

    Returns:
        The models' folders.
    """
    suite, study = stored.suite, stored.study
    folders: list[Path] = []
    for task, method in study.units_of(ALL_SHARD):
        optimum = read_optimum(UnitPaths(study, task, method).optimum)
        for experiment in suite.variants()[method] if optimum and optimum.final else []:
            assert optimum is not None
            prefix = f"{task}_" if len(study.tasks) > 1 else ""
            name = f"{prefix}{suite.experiment_type}_{experiment.name}{stored.suffix}"
            place = folder / MODELS_FOLDER / name
            own = _describe_experiment(suite, study, optimum, experiment)
            write_optimum(place / _OPTIMUM_FILE, own)
            folders += train_final(study, place / _OPTIMUM_FILE, place / MODEL_FOLDER, say=say)
    return folders


def _describe_experiment(
    suite: Suite, study: Study, optimum: Optimum, experiment: Experiment
) -> Optimum:
    """Returns what the unit's optimum would be if only this experiment had been run."""
    trials, confirmations = (
        [
            record
            for record in read_runs(
                study, optimum.task, optimum.method, phase="phase1", role=role
            ).records
            if find_experiment(suite, record) == experiment
        ]
        for role in ("trial", "confirm")
    )
    seeds = [r.search_score for r in confirmations if r.search_score is not None]
    confirmed = summarize_scores(seeds)
    score = next((r.search_score for r in trials if r.search_score is not None), None)
    return optimum.model_copy(
        update={
            "best_hyperparameters": {
                **optimum.best_hyperparameters,
                **experiment.hyperparameters,
            },
            "best_value": float("nan") if score is None else score,
            "best_trial": trials[0].config.index if trials else -1,
            "n_trials": len(trials),
            "confirmed_value": confirmed.mean,
            "confirmed_standard_error": confirmed.standard_error,
            "confirmed_seeds": len(seeds),
            "improvement": None,
            "range_flags": (),
            "success_criteria": (),
        }
    )
