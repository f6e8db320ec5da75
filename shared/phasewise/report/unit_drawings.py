"""The figures of one unit: its search, what it says about the parameters, its learning curves."""

from collections import Counter
from collections.abc import Mapping

from phasewise.figures import (
    MethodStyle,
    SearchedTrials,
    collect_trials,
    compute_correlation,
    compute_history,
    compute_importance,
    compute_learning_curves,
    compute_parallel,
    compute_slices,
    draw_correlation,
    draw_history,
    draw_importance,
    draw_loss_curves,
    draw_parallel,
    draw_search_curves,
    draw_slices,
)
from phasewise.figures.history import Origin
from phasewise.report.drawing import Drawing
from phasewise.report.evidence import UnitEvidence
from phasewise.report.formatting import show_score
from phasewise.settings import SearchSettings, Study
from phasewise.tuning.startup import schedule_startup


def draw_unit(study: Study, unit: UnitEvidence, style: MethodStyle) -> list[Drawing]:
    """Returns the figures of a unit; those that have nothing to show are left out."""
    best = None if unit.optimum is None else f"trial-{unit.optimum.best_trial:03d}"
    trials = collect_trials(unit.trials, study.parameters_of(unit.method), best)
    drawings = [
        _draw_history(study, unit, style),
        _draw_importance(unit, trials, style),
        _draw_correlation(unit, trials),
        _draw_slices(unit, trials, style),
        _draw_parallel(unit, trials, style),
        *_draw_curves(unit, best, style),
    ]
    return [drawing for drawing in drawings if drawing is not None]


def name_origins(search: SearchSettings, trials: int) -> dict[str, Origin]:
    """Returns trial name to who proposed it, where the sampler's plan alone says so."""
    names = [f"trial-{number:03d}" for number in range(trials)]
    if search.sampler == "qmc":
        return dict.fromkeys(names, "sobol")
    if search.sampler != "schedule":
        return {}
    start = schedule_startup(search.trials)
    origins: dict[str, Origin] = {name: "model" for name in names[start:]}
    origins |= dict.fromkeys(names[1:start], "sobol")
    first: Origin = "default" if search.refine_from is None else "earlier"
    return origins | dict.fromkeys(names[:1], first)


def _draw_history(study: Study, unit: UnitEvidence, style: MethodStyle) -> Drawing | None:
    origins = name_origins(study.settings.search, len(unit.trials))
    history = compute_history(unit.trials, origins)
    if not history.points:
        return None
    ending = [b for b in history.best if b == b]
    reached = f", best so far ends at {show_score(ending[-1])}" if ending else ""
    counts = _count_words(Counter(point.origin for point in history.points))
    words = f"{_name(unit)}: score of {len(history.points)} trials ({counts}){reached}."
    figure = draw_history(history, style)
    return Drawing(f"history-{_key(unit)}", "Optimisation history", words, figure)


def _draw_importance(
    unit: UnitEvidence, trials: SearchedTrials, style: MethodStyle
) -> Drawing | None:
    found = compute_importance(trials)
    if not found.parameters:
        return None
    shares = ", ".join(
        f"{each.name} {each.share:.2f} [{each.interval.low:.2f}, {each.interval.high:.2f}]"
        for each in found.parameters
    )
    words = f"{_name(unit)}: importance of the hyperparameters: {shares}."
    figure, title = draw_importance(found, style), "Importance of hyperparameters"
    return Drawing(f"importance-{_key(unit)}", title, words, figure, note=found.warning)


def _draw_slices(unit: UnitEvidence, trials: SearchedTrials, style: MethodStyle) -> Drawing | None:
    if not trials.parameters or all(trial.score is None for trial in trials.trials):
        return None
    slices = compute_slices(trials, unit.optimum.range_flags if unit.optimum else ())
    flagged = [panel.parameter.name for panel in slices.panels if panel.wider]
    edges = f"; the best lies at an edge of {', '.join(flagged)}" if flagged else ""
    names = ", ".join(panel.parameter.name for panel in slices.panels)
    words = f"{_name(unit)}: {trials.metric} of each trial against {names}{edges}."
    figure, title = draw_slices(slices, style), "Score against each hyperparameter"
    return Drawing(f"slices-{_key(unit)}", title, words, figure, wide=True)


def _draw_parallel(
    unit: UnitEvidence, trials: SearchedTrials, style: MethodStyle
) -> Drawing | None:
    parallel = compute_parallel(trials)
    if not parallel.lines or len(trials.parameters) < 2:
        return None
    words = (
        f"{_name(unit)}: the values of {len(parallel.lines)} trials side by side, "
        "the best trial and the best quarter brought out."
    )
    figure, title = draw_parallel(parallel, style), "Parallel coordinates"
    return Drawing(f"parallel-{_key(unit)}", title, words, figure, wide=True)


def _draw_correlation(unit: UnitEvidence, trials: SearchedTrials) -> Drawing | None:
    found = compute_correlation(trials)
    strongest = found.strongest()
    if strongest is None:
        return None
    first, second, rho = strongest
    words = (
        f"{_name(unit)}: rank correlation between the parameters that the search drew; strongest "
        f"between {first} and {second}, {rho:.2f} over {found.trials} trials."
    ).replace("-0.", "−0.")
    left_out = f" No order, so left out: {', '.join(found.left_out)}." if found.left_out else ""
    note = f"Parameters that were drawn together cannot be told apart by this search.{left_out}"
    figure, title = draw_correlation(found), "Correlation between sampled hyperparameters"
    return Drawing(f"correlation-{_key(unit)}", title, words, figure, note=note)


def _draw_curves(unit: UnitEvidence, best: str | None, style: MethodStyle) -> list[Drawing]:
    curves = compute_learning_curves(unit.trials, best)
    drawings = []
    if curves.search:
        words = f"{_name(unit)}: {curves.metric} on the search set by epoch, "
        words += f"{len(curves.search)} trials."
        figure = draw_search_curves(curves, style)
        drawings.append(Drawing(f"curves-{_key(unit)}", "Search-set score", words, figure))
    if curves.loss:
        words = f"{_name(unit)}: training loss by step, {len(curves.loss)} trials."
        figure = draw_loss_curves(curves, style)
        drawings.append(Drawing(f"loss-{_key(unit)}", "Training loss", words, figure))
    return drawings


def _name(unit: UnitEvidence) -> str:
    return f"{unit.task}/{unit.method}"


def _key(unit: UnitEvidence) -> str:
    return f"{unit.task}-{unit.method}"


def _count_words(counts: Mapping[Origin, int]) -> str:
    return ", ".join(f"{count} {origin}" for origin, count in counts.items())
