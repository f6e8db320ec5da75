"""What the benchmark of samplers found: tables, the anytime figure, and sentences."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from statistics import fmean

from phasewise.figures import assign_styles
from phasewise.figures.static import write_static
from phasewise.formatting import show_amount, show_interval, show_score
from phasewise.recipes.sampler_benchmark.figures import compute_anytime, draw_anytime
from phasewise.recipes.sampler_benchmark.unit import UnitBenchmark
from phasewise.records import write_atomically
from phasewise.report.columns import Column, Table, render_markdown_table, write_csv
from phasewise.report.sentences import describe_verdict
from phasewise.report.verdict_table import render_verdicts
from phasewise.report.verdicts import Verdict, put_better_first
from phasewise.statistics import (
    Interval,
    compare_seeds,
    correct_holm,
    find_bounds,
    mean_interval,
    prob_superiority,
    prob_superiority_interval,
    summarize_scores,
)
from phasewise.summaries import ScoreSummary

CONTROL = "random"
#: Below this rank correlation the stand-in says little about real trainings.
POOR_RANK_CORRELATION = 0.5
Curves = dict[str, list[list[float]]]  # sampler to best so far: (searches, trials)


@dataclass(frozen=True)
class TrialRow:
    """One trial of one search, on the scale of the metric."""

    task: str
    method: str
    sampler: str
    seed: int
    trial: int
    value: float | None
    best: float


@dataclass(frozen=True)
class SamplerRow:
    """One sampler on one unit, on the scale of the metric."""

    task: str
    method: str
    sampler: str
    best: ScoreSummary  # of each search
    best_interval: Interval | None  # of the mean
    average_best: float  # best so far, mean over all trials and searches
    trials_to_match_random: int | None  # until the mean best reaches that of all random trials
    draw_seconds: float


def write_benchmark(units: Sequence[UnitBenchmark], folder: Path) -> Path:
    """Writes ``trials.csv``, ``samplers.csv``, ``verdicts.csv``, the figures and ``SAMPLERS.md``.

    Args:
        units: What was measured.
        folder: Made if missing.

    Returns:
        Path of ``SAMPLERS.md``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    curves = [best_so_far(unit) for unit in units]
    pairs = list(zip(units, curves, strict=True))
    samplers = [row for unit, each in pairs for row in rank_samplers(unit, each)]
    verdicts = judge_samplers(pairs)
    trials = [row for unit, each in pairs for row in _list_trials(unit, each)]
    write_atomically(folder / "trials.csv", write_csv(trials))
    write_atomically(folder / "samplers.csv", write_csv(samplers))
    write_atomically(folder / "verdicts.csv", render_verdicts(verdicts))
    for unit, each in pairs:
        raw = {name: [[unit.sign * v for v in row] for row in rows] for name, rows in each.items()}
        figure = draw_anytime(compute_anytime(unit.metric, raw), assign_styles(raw))
        stem = folder / f"anytime_{unit.task}_{unit.method}"
        write_static(figure, stem, title=f"{_name(unit)}: search algorithms at equal budget")
    path = folder / "SAMPLERS.md"
    write_atomically(path, _write_text(units, samplers, verdicts))
    return path


def best_so_far(unit: UnitBenchmark) -> Curves:
    """Returns each sampler's best so far after every trial of the budget, larger being better.

    Before a search has any score it stands at the worst score of the unit; a grid that is used up
    stays where it is.
    """
    scores = [v for search in unit.searches for v in search.values if v is not None]
    worst = min(scores, default=0.0)
    curves: Curves = {}
    for search in unit.searches:
        best, row = worst, []
        for value in (*search.values, *[None] * (unit.trials - len(search.values))):
            best = best if value is None else max(best, value)
            row.append(best)
        curves.setdefault(search.sampler, []).append(row)
    return curves


def rank_samplers(unit: UnitBenchmark, curves: Curves) -> list[SamplerRow]:
    """Returns the unit's samplers, the best mean at the full budget first."""
    means = {name: [fmean(c) for c in zip(*rows, strict=True)] for name, rows in curves.items()}
    goal = means[CONTROL][-1] if CONTROL in means else None
    rows = []
    for name in sorted(means, key=lambda each: -means[each][-1]):
        final = [unit.sign * row[-1] for row in curves[name]]
        reached = None if goal is None else _first_at_least(means[name], goal)
        seconds = fmean(s.draw_seconds for s in unit.searches if s.sampler == name)
        rows.append(
            SamplerRow(
                task=unit.task,
                method=unit.method,
                sampler=name,
                best=summarize_scores(final),
                best_interval=mean_interval(final, find_bounds(unit.metric)),
                average_best=unit.sign * fmean(means[name]),
                trials_to_match_random=reached,
                draw_seconds=seconds,
            )
        )
    return rows


def _first_at_least(means: Sequence[float], goal: float) -> int | None:
    return next((k for k, mean in enumerate(means, start=1) if mean >= goal - 1e-12), None)


def judge_samplers(units: Sequence[tuple[UnitBenchmark, Curves]]) -> tuple[Verdict, ...]:
    """Returns the verdict on every pair of samplers of every unit, at the full budget.

    Searches of one seed are paired, and Holm's correction is over all verdicts returned.
    """
    verdicts = [
        _judge(unit, curves, first, second)
        for unit, curves in units
        for first, second in combinations(curves, 2)
    ]
    known = [verdict.comparison for verdict in verdicts]
    corrected = correct_holm([None if each is None else each.p_value for each in known])
    return tuple(
        put_better_first(replace(verdict, holm_p=p, family_size=len(verdicts)))
        for verdict, p in zip(verdicts, corrected, strict=True)
    )


def _judge(unit: UnitBenchmark, curves: Mapping[str, list[list[float]]], a: str, b: str) -> Verdict:
    first, second = ([row[-1] for row in curves[name]] for name in (a, b))
    superiority = prob_superiority(first, second)
    return Verdict(
        task=_name(unit),
        metric=unit.metric,
        first=a,
        second=b,
        comparison=compare_seeds(first, second),
        bootstrap=None,
        prob_superiority=superiority,
        prob_superiority_interval=prob_superiority_interval(superiority, len(first), len(second)),
        welch_p=None,
        examples_missing="",
    )


def _list_trials(unit: UnitBenchmark, curves: Curves) -> list[TrialRow]:
    rows = []
    for search in unit.searches:
        best = curves[search.sampler][search.seed]
        for number, value in enumerate(search.values):
            raw = None if value is None else unit.sign * value
            rows.append(
                TrialRow(
                    task=unit.task,
                    method=unit.method,
                    sampler=search.sampler,
                    seed=search.seed,
                    trial=number,
                    value=raw,
                    best=unit.sign * best[number],
                )
            )
    return rows


def _name(unit: UnitBenchmark) -> str:
    return f"{unit.task}/{unit.method}"


def _write_text(
    units: Sequence[UnitBenchmark], samplers: Sequence[SamplerRow], verdicts: Sequence[Verdict]
) -> str:
    parts = ["# Search algorithms at equal budget"]
    for unit in units:
        rows = [row for row in samplers if (row.task, row.method) == (unit.task, unit.method)]
        own = [verdict for verdict in verdicts if verdict.task == _name(unit)]
        parts += [f"## {_name(unit)}", _describe_setting(unit, rows), _table(unit, rows)]
        parts.append(_list_sentences(rows, own))
        parts.append(f"![best so far](anytime_{unit.task}_{unit.method}.png)")
    return "\n\n".join(parts) + "\n"


def _describe_setting(unit: UnitBenchmark, rows: Sequence[SamplerRow]) -> str:
    count = len(rows[0].best.scores)
    text = f"{count} searches of {unit.trials} trials each by each of {len(rows)} samplers. "
    if unit.fit is None:
        return f"{text}Every trial was trained."
    fit = unit.fit
    text += (
        f"A forest fitted to {fit.trainings} real trainings stood in for training; of trainings it "
        f"has not seen it predicts the score with rank correlation {fit.rank_correlation:.2f} and "
        f"{100 * max(0.0, fit.explained):.0f} % of the variance (out of bag)."
    )
    if fit.rank_correlation < POOR_RANK_CORRELATION:
        text += " That is too little to carry the order of the samplers over to real trainings."
    return text


def _table(unit: UnitBenchmark, rows: Sequence[SamplerRow]) -> str:
    columns: tuple[Column[SamplerRow], ...] = (
        Column("sampler", lambda row: row.sampler, words=True),
        Column(
            f"best {unit.metric}, mean [95 %]",
            lambda row: f"{show_score(row.best.mean)} {show_interval(row.best_interval)}",
        ),
        Column("SD over searches", lambda row: show_score(row.best.sd)),
        Column("mean best so far", lambda row: show_score(row.average_best)),
        Column(
            "trials to match random", lambda row: str(row.trials_to_match_random or "not reached")
        ),
        Column("s per draw", lambda row: show_amount(row.draw_seconds)),
    )
    return render_markdown_table(Table(columns, tuple(rows))).rstrip("\n")


def _list_sentences(rows: Sequence[SamplerRow], verdicts: Sequence[Verdict]) -> str:
    """The leader against all others, then random against the rest; all pairs are in the CSV."""
    shown = [rows[0].sampler, CONTROL]
    told = [
        verdict
        for name in dict.fromkeys(shown)
        for verdict in verdicts
        if name in (verdict.first, verdict.second)
    ]
    sentences = [describe_verdict(verdict) for verdict in dict.fromkeys(told)]
    return "\n".join(f"- {sentence}" for sentence in sentences)
