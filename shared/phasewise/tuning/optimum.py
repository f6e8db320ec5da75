"""The optimum of a unit as it is written: after every trial, and for good at the end."""

import os
from collections.abc import Sequence
from typing import Any

from phasewise.errors import ConfigError, RecordError
from phasewise.example_values import (
    find_constant,
    find_score_interval,
    read_example_values,
)
from phasewise.learning import Learning, SearchOutcome, judge_search, judge_seeds
from phasewise.provenance import describe_environment
from phasewise.records import RunRecord, read_record
from phasewise.runs import task_baselines_path, task_hash
from phasewise.settings import Hyperparameters, MethodSettings
from phasewise.steps import name_command
from phasewise.summaries import (
    FrontPoint,
    Optimum,
    PhaseSummary,
    TaskBaselines,
    read_optimum,
    read_phase_summary,
    read_task_baselines,
    write_optimum,
)
from phasewise.tuning.candidates import Candidate, rank_candidates, rank_trials
from phasewise.tuning.criteria import SearchState, check_criteria, measure_noise
from phasewise.tuning.edges import flag_edges
from phasewise.tuning.ended_trials import EndedTrial, count_states
from phasewise.tuning.objectives import Objective
from phasewise.tuning.units import Unit
from phasewise.unit_runs import read_runs


def read_baseline(unit: Unit) -> PhaseSummary:
    """Returns the unit's Phase 0 summary.

    Raises:
        ConfigError: Phase 0 has not been run, or none of its runs had a score.
    """
    path = unit.paths.summary("phase0")
    command = name_command(unit.study, "defaults", unit.task, unit.method)
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
    objective: Objective,
    *,
    final: bool,
) -> Optimum:
    """Returns what ``{task}_{method}_optimal.yaml`` says.

    Args:
        unit: The unit.
        trials: All ended trials.
        candidates: The best finished ones, confirmed or not; at least one.
        objective: What they were compared by, with the published default's own values.
        final: Whether nothing more will run.
    """
    ranked = rank_candidates(candidates, objective.sign)
    best = ranked[0]
    reached = best.value if best.confirmed.mean is None else best.confirmed.mean
    reference = objective.baseline.mean
    assert reference is not None
    state = _describe_search(trials, ranked, objective, final)
    chosen = meaningful_hyperparameters(best.hyperparameters, unit.study.methods[unit.method])
    # Not after each trial: reading what it takes would keep the workers waiting.
    learning = _judge_search(unit, best, state, chosen) if final and objective.is_metric else None
    return Optimum(
        best_hyperparameters=chosen,
        best_value=best.value,
        n_trials=len(trials),
        study_name=unit.study_name,
        final=final,
        task=unit.task,
        method=unit.method,
        metric=objective.name,
        direction=objective.direction,
        best_trial=best.number,
        confirmed_value=best.confirmed.mean,
        confirmed_standard_error=best.confirmed.standard_error,
        confirmed_seeds=len(best.confirmed.scores),
        model_based_trials=sum(trial.origin == "model" for trial in trials),
        trial_states=count_states(list(trials)),
        baseline_value=reference,
        improvement=objective.sign * (reached - reference),
        refined_from=None if unit.refinement is None else unit.refinement.origin,
        learned=learning and learning.learned,
        learned_why=learning.describe() if learning else "",
        pareto_front=_describe_front(unit, trials, objective),
        range_flags=flag_edges(unit.space.parameters, best.hyperparameters),
        success_criteria=check_criteria(state),
        settings_hash=unit.phase_hash("phase1"),
        provenance=describe_environment(),
    )


def note_learning(unit: Unit, optimum: Optimum, summary: PhaseSummary) -> Learning | None:
    """Judges a unit by its Phase 2 and says so in its optimum's file.

    The file keeps its time: its settings are the same, and what was made from them stays valid.

    Args:
        unit: The unit.
        optimum: That was validated.
        summary: Of Phase 2.

    Returns:
        None without a baseline to hold it against.
    """
    baselines = read_floor(unit)
    runs = {
        (seeds.init, seeds.order, seeds.subset): record
        for record in read_runs(unit.study, unit.task, unit.method, phase="phase2").records
        if f"phase2/{record.config.name}" in summary.runs and (seeds := record.config.seeds)
    }
    if baselines is None:
        return None
    values, _ = read_example_values(runs, unit.paths.root)
    scores = summary.report.scores
    interval, _ = find_score_interval(baselines.metric, scores, list(values.values()))
    learning = judge_seeds(
        (unit.task, unit.method),
        baselines,
        scores,
        interval,
        maximize=unit.sign > 0,
        hyperparameters=summary.hyperparameters,
        find_constant=lambda: find_constant(list(runs.values()), unit.paths.root),
    )
    if learning is not None:
        times = unit.paths.optimum.stat()
        said = {"learned": learning.learned, "learned_why": learning.describe()}
        write_optimum(unit.paths.optimum, optimum.model_copy(update=said))
        os.utime(unit.paths.optimum, ns=(times.st_atime_ns, times.st_mtime_ns))
    return learning


def keep_verdict(optimum: Optimum, unit: Unit) -> Optimum:
    """Returns an optimum with what Phase 2 has found of the very same one, if it has run."""
    try:
        known = read_optimum(unit.paths.optimum)
        summary = read_phase_summary(unit.paths.summary("phase2"))
    except RecordError:
        return optimum
    if known is None or summary is None or summary.settings_hash != unit.phase_hash("phase2"):
        return optimum
    if known.best_hyperparameters != optimum.best_hyperparameters:
        return optimum
    return optimum.model_copy(update={"learned": known.learned, "learned_why": known.learned_why})


def read_floor(unit: Unit) -> TaskBaselines | None:
    """Returns the task's baselines; None unless they are of today's settings."""
    try:
        found = read_task_baselines(task_baselines_path(unit.study, unit.task))
    except RecordError:
        return None
    if found is None or found.settings_hash != task_hash(unit.study, unit.task):
        return None
    return found


def _judge_search(
    unit: Unit, best: Candidate, state: SearchState, hyperparameters: dict[str, Any]
) -> Learning | None:
    baselines = read_floor(unit)
    if baselines is None or state.metric != baselines.metric:
        return None
    found = SearchOutcome(
        value=best.value,
        trials=len(state.values),
        confirmed=best.confirmed.mean,
        confirmed_error=best.confirmed.standard_error,
        confirmed_seeds=len(best.confirmed.scores),
        sampling_error=state.noise.sampling_error,
        seed_sd=state.noise.seed_sd,
    )
    return judge_search(
        (unit.task, unit.method),
        baselines,
        found,
        maximize=state.sign > 0,
        hyperparameters=hyperparameters,
    )


def read_defaults(unit: Unit, baseline: PhaseSummary) -> list[RunRecord]:
    """Returns the records of Phase 0's runs of the published default that have a score."""
    records = [read_record(unit.paths.root / run) for run in baseline.runs]
    return [record for record in records if record is not None]


def _describe_front(
    unit: Unit, trials: Sequence[EndedTrial], objective: Objective
) -> tuple[FrontPoint, ...]:
    """Returns the members of a front, best by the first objective first; none without a front."""
    if objective.kind != "pareto":
        return ()
    names = [component.name for component in objective.components]
    method = unit.study.methods[unit.method]
    return tuple(
        FrontPoint(
            trial=trial.number,
            values=dict(zip(names, trial.values, strict=True)),
            hyperparameters=meaningful_hyperparameters(trial.hyperparameters, method),
        )
        for trial in rank_trials(trials, objective)
    )


def _describe_search(
    trials: Sequence[EndedTrial],
    ranked: Sequence[Candidate],
    objective: Objective,
    final: bool,
) -> SearchState:
    reference, seed_sd = objective.baseline.mean, objective.baseline.sd
    assert reference is not None
    rows = max(trial.search_rows for trial in trials)
    return SearchState(
        metric=objective.name,
        sign=objective.sign,
        values=[trial.value for trial in trials if trial.value is not None],
        ranked=ranked,
        baseline=reference,
        noise=measure_noise(
            objective.name, reference if objective.is_metric else None, rows, seed_sd
        ),
        final=final,
    )


def meaningful_hyperparameters(
    hyperparameters: Hyperparameters, method: MethodSettings
) -> dict[str, Any]:
    """Returns the hyperparameters that have an effect on a method."""
    values = hyperparameters.model_dump(mode="json", exclude_none=True)
    return {name: value for name, value in values.items() if method.takes(name)}
