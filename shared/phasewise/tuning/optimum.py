"""The optimum of a unit as it is written: after every trial, and for good at the end."""

from collections.abc import Sequence
from typing import Any

from phasewise.errors import ConfigError
from phasewise.provenance import describe_environment
from phasewise.settings import Hyperparameters, MethodSettings
from phasewise.summaries import Optimum, PhaseSummary, read_phase_summary
from phasewise.tuning.criteria import SearchState, check_criteria, measure_noise
from phasewise.tuning.edges import flag_edges
from phasewise.tuning.trials import EndedTrial, count_states
from phasewise.tuning.units import Unit
from phasewise.tuning.winner import Candidate, rank_candidates


def read_baseline(unit: Unit) -> PhaseSummary:
    """Returns the unit's Phase 0 summary.

    Raises:
        ConfigError: Phase 0 has not been run, or none of its runs had a score.
    """
    path = unit.paths.summary("phase0")
    command = (
        f"phasewise defaults --study {unit.study.path} --task {unit.task} --method {unit.method}"
    )
    summary = read_phase_summary(path)
    if summary is None:
        raise ConfigError(
            f"{unit.label}: Phase 1 needs the baseline of Phase 0: expected {path}, "
            f"which is missing; make it with: {command}"
        )
    if summary.search.mean is None:
        raise ConfigError(f"{path}: Phase 0 has no score; delete it and run: {command}")
    return summary


def build_optimum(
    unit: Unit,
    trials: Sequence[EndedTrial],
    candidates: Sequence[Candidate],
    baseline: PhaseSummary,
    *,
    final: bool,
) -> Optimum:
    """Returns what ``{task}_{method}_optimal.yaml`` says.

    Args:
        unit: The unit.
        trials: All ended trials.
        candidates: The best finished ones, confirmed or not; at least one.
        baseline: Phase 0 of the unit, with a score.
        final: Whether nothing more will run.
    """
    ranked = rank_candidates(candidates, unit.sign)
    winner = ranked[0]
    reached = winner.value if winner.confirmed.mean is None else winner.confirmed.mean
    assert baseline.search.mean is not None
    state = _describe_search(unit, trials, ranked, baseline, final)
    return Optimum(
        best_hyperparameters=meaningful_hyperparameters(
            winner.hyperparameters, unit.study.methods[unit.method]
        ),
        best_value=winner.value,
        n_trials=len(trials),
        study_name=unit.study_name,
        final=final,
        task=unit.task,
        method=unit.method,
        metric=unit.metric,
        direction="maximize" if unit.sign > 0 else "minimize",
        best_trial=winner.number,
        confirmed_value=winner.confirmed.mean,
        confirmed_standard_error=winner.confirmed.standard_error,
        confirmed_seeds=len(winner.confirmed.scores),
        model_based_trials=sum(trial.origin == "model" for trial in trials),
        trial_states=count_states(list(trials)),
        baseline_value=baseline.search.mean,
        improvement=unit.sign * (reached - baseline.search.mean),
        range_flags=flag_edges(unit.space.parameters, winner.hyperparameters),
        success_criteria=check_criteria(state),
        settings_hash=unit.phase_hash("phase1"),
        provenance=describe_environment(),
    )


def _describe_search(
    unit: Unit,
    trials: Sequence[EndedTrial],
    ranked: Sequence[Candidate],
    baseline: PhaseSummary,
    final: bool,
) -> SearchState:
    assert baseline.search.mean is not None
    rows = max(trial.search_rows for trial in trials)
    return SearchState(
        metric=unit.metric,
        sign=unit.sign,
        values=[trial.value for trial in trials if trial.value is not None],
        ranked=ranked,
        baseline=baseline.search.mean,
        noise=measure_noise(unit.metric, baseline.search.mean, rows, baseline.search.sd),
        final=final,
    )


def meaningful_hyperparameters(
    hyperparameters: Hyperparameters, method: MethodSettings
) -> dict[str, Any]:
    """Returns the hyperparameters that a method uses; the LoRA entries only where there are any."""
    values = hyperparameters.model_dump(mode="json", exclude_none=True)
    if method.kind != "lora":
        return {k: v for k, v in values.items() if not k.startswith(("lora", "target_"))}
    if not method.use_loraplus:
        del values["loraplus_lr_ratio"]
    return values
