"""What the scores allow one to say about each task, in words, and no more than that."""

from collections.abc import Sequence
from dataclasses import dataclass

from phasewise.report.evidence import TaskEvidence, UnitEvidence
from phasewise.report.formatting import (
    BASELINE_NAMES,
    join_words,
    show_interval,
    show_p,
    show_score,
    show_signed,
)
from phasewise.report.rows import describe_gaps
from phasewise.settings import Study
from phasewise.statistics import (
    PairedDifference,
    compare_paired,
    pooled_sd,
    seeds_needed,
    smallest_detectable_difference,
)


@dataclass(frozen=True)
class Comparison:
    """The best method of a task against another one; positive where the best is better."""

    task: str
    first: str
    second: str
    difference: PairedDifference | None  # None without a common seed
    detectable: float | None  # smallest difference that as many seeds find in 8 of 10 studies

    @property
    def is_lead(self) -> bool:
        """Whether the interval excludes zero and the sign-flip test, where it can, agrees."""
        difference = self.difference
        if difference is None or difference.interval is None or difference.interval.low <= 0:
            return False
        p = difference.p_value
        return not difference.can_reach_level or (p is not None and p <= 0.05)


@dataclass(frozen=True)
class TaskFinding:
    """One task's finding."""

    task: str
    headline: str
    details: tuple[str, ...]
    comparisons: tuple[Comparison, ...]


def find_task(study: Study, task: TaskEvidence) -> TaskFinding:
    """Says which method of a task leads, or that they cannot be told apart, or what is missing."""
    scored = [unit for unit in task.units if unit.validation.mean is not None]
    details = [_gap_sentence(study, unit) for unit in task.units if unit not in scored]
    details += _unscored_sentences(task)
    if not scored:
        words = f"{task.task}: no finding yet, since no method has a Phase 2 score."
        return TaskFinding(task.task, words, tuple(details), ())
    sign = 1 if task.maximise else -1
    best, *others = sorted(scored, key=lambda unit: -sign * (unit.validation.mean or 0.0))
    details += _baseline_sentences(task, best)
    if not others:
        words = f"{task.task}: {_describe_mean(best)}; there is no other method to compare it with."
        return TaskFinding(task.task, words, tuple(details), ())
    sd = pooled_sd([unit.validation.scores for unit in scored])
    comparisons = tuple(_compare(best, other, sd, sign) for other in others)
    sentences = [_comparison_sentence(each, task.metric, sd) for each in comparisons]
    details = [*sentences[1:], *_caution_sentences(comparisons), *details]
    return TaskFinding(task.task, f"{task.task}: {sentences[0]}", tuple(details), comparisons)


def _compare(best: UnitEvidence, other: UnitEvidence, sd: float | None, sign: int) -> Comparison:
    first, second = best.seed_scores(), other.seed_scores()
    common = [seeds for seeds in first if seeds in second]
    difference = None
    if common:
        left = [sign * first[seeds] for seeds in common]
        difference = compare_paired(left, [sign * second[seeds] for seeds in common])
    n = min(len(best.validation.scores), len(other.validation.scores))
    detectable = None if sd is None else smallest_detectable_difference(sd, n)
    return Comparison(best.task, best.method, other.method, difference, detectable)


def _comparison_sentence(each: Comparison, metric: str, sd: float | None) -> str:
    difference = each.difference
    if difference is None:
        return (
            f"{each.first} has a higher mean than {each.second}, but their runs share no seed that "
            "both finished, so the difference is not judged."
        )
    if difference.interval is None:
        return (
            f"{each.first} and {each.second} share a single seed (difference "
            f"{show_signed(difference.mean)}): one seed says nothing about the difference."
        )
    shown = f"{show_score(difference.mean)} {show_interval(difference.interval)} {metric}"
    basis = f"95 % interval over {difference.pairs} paired seeds"
    if each.is_lead:
        return f"{each.first} leads {each.second} by {shown} ({basis})."
    floor = _floor_clause(each, difference, sd)
    return (
        f"{each.first} and {each.second} cannot be told apart: difference {shown} ({basis}){floor}."
    )


def _floor_clause(each: Comparison, difference: PairedDifference, sd: float | None) -> str:
    if each.detectable is None or sd is None:
        return ""
    words = "; the smallest detectable difference at this many seeds is "
    words += show_score(each.detectable)
    needed = seeds_needed(difference.mean, sd)
    if needed is not None and needed > difference.pairs:
        words += f"; about {needed} seeds would show a true difference of the size seen"
    return words


def _caution_sentences(comparisons: Sequence[Comparison]) -> list[str]:
    """Says how far a lead can be trusted; nothing where there is none."""
    provisional: dict[int, list[str]] = {}
    sentences = []
    for each in comparisons:
        difference = each.difference
        if difference is None or not each.is_lead:
            continue
        if difference.can_reach_level:
            p = show_p(difference.p_value)
            sentences.append(f"{each.first} against {each.second}: sign-flip p = {p}.")
        else:
            provisional.setdefault(difference.pairs, []).append(each.second)
    for pairs, others in provisional.items():
        smallest = show_p(2 / 2**pairs)
        sentences.append(
            f"Take the lead over {join_words(others)} as provisional: the interval assumes normal "
            f"differences, and with {pairs} pairs no sign-flip test can go below p = {smallest}."
        )
    if sentences and len(comparisons) > 1:
        sentences.append(f"Not corrected for the {len(comparisons)} comparisons made.")
    return sentences


def _baseline_sentences(task: TaskEvidence, best: UnitEvidence) -> list[str]:
    if task.baselines is None:
        return []
    sign = 1 if task.maximise else -1
    scored = [b for b in task.baselines.baselines if b.report_score is not None]
    if not scored or best.validation.mean is None:
        return []
    strongest = max(scored, key=lambda b: sign * (b.report_score or 0.0))
    name, score = BASELINE_NAMES[strongest.name], strongest.report_score or 0.0
    gain = sign * (best.validation.mean - score)
    if gain <= 0:
        return [
            f"No method beats the {name} baseline ({show_score(score)}): fine-tuning has not paid "
            "at this budget."
        ]
    return [
        f"Against the strongest cheap baseline, {name} ({show_score(score)}), {best.method} gains "
        f"{show_score(gain)}."
    ]


def _unscored_sentences(task: TaskEvidence) -> list[str]:
    unscored = [
        baseline
        for baseline in (task.baselines.baselines if task.baselines else ())
        if baseline.search_score is None and baseline.report_score is None
    ]
    return [
        f"The {BASELINE_NAMES[baseline.name]} baseline has no score"
        + (f": {baseline.note}." if baseline.note else ".")
        for baseline in unscored
    ]


def _describe_mean(unit: UnitEvidence) -> str:
    n = len(unit.validation.scores)
    seeds = "one seed" if n == 1 else f"{n} seeds"
    return f"{unit.method} reaches {show_score(unit.validation.mean)} {unit.metric} over {seeds}"


def _gap_sentence(study: Study, unit: UnitEvidence) -> str:
    return f"{unit.method} is not compared: {join_words(describe_gaps(study, unit))}."
