"""What the scores allow one to say about each task, in words, and no more than that."""

from collections.abc import Sequence
from dataclasses import dataclass

from phasewise.formatting import BASELINE_NAMES, join_words, show_interval, show_score
from phasewise.report.evidence import TaskEvidence, UnitEvidence
from phasewise.report.gains import describe_gain
from phasewise.report.gaps import describe_gaps
from phasewise.report.learning import find_learned, nobody_learned
from phasewise.report.pair_traces import name_pair
from phasewise.report.sentences import describe_verdict, list_cautions
from phasewise.report.traces import SEEDS, name_unit
from phasewise.report.verdicts import ALL_TASKS, Verdict, list_pooled
from phasewise.settings import Study, is_pooled
from phasewise.statistics import interquartile_mean


@dataclass(frozen=True)
class TaskFinding:
    """One task's finding, or that over all tasks."""

    task: str
    headline: str
    details: tuple[str, ...]
    sources: tuple[tuple[str, str], ...] = ()  # label and anchor of what it was worked out from


def find_task(study: Study, task: TaskEvidence, verdicts: Sequence[Verdict]) -> TaskFinding:
    """Says which method of a task leads, or that they cannot be told apart, or what is missing.

    Args:
        study: The study that was planned.
        task: What its units have left.
        verdicts: All of the report.
    """
    scored = [unit for unit in task.units if unit.validation.mean is not None]
    details = [_gap_sentence(study, unit) for unit in task.units if unit not in scored]
    details += [text for unit in scored if (text := _failure_sentence(study, unit))]
    details += _unscored_sentences(task)
    sources = [(unit.method, name_unit(unit.task, unit.method, SEEDS)) for unit in scored]
    if not scored:
        words = f"{task.task}: no finding yet, since no method has a Phase 2 score."
        return TaskFinding(task.task, words, tuple(details))
    sign = 1 if task.maximize else -1
    learned = find_learned(task)
    best = max(learned or scored, key=lambda unit: sign * (unit.validation.mean or 0.0))
    details += describe_gain(study, task, best)
    if not learned:
        words = f"{task.task}: no method has learned; the best one, {_describe_mean(best)}."
        return TaskFinding(task.task, words, tuple(details), tuple(sources))
    chosen = _choose(verdicts, task.task, best.method, [unit.method for unit in learned])
    if not chosen and len(scored) > 1:
        words = f"{task.task}: {_describe_mean(best)}; no other method has learned."
        return TaskFinding(task.task, words, tuple(details), tuple(sources))
    if not chosen:
        words = f"{task.task}: {_describe_mean(best)}; there is no other method to compare it with."
        return TaskFinding(task.task, words, tuple(details), tuple(sources))
    sentences = [describe_verdict(verdict) for verdict in chosen]
    details = [*sentences[1:], *list_cautions(chosen), *details]
    return TaskFinding(task.task, sentences[0], tuple(details), (*_list_pairs(chosen), *sources))


def find_overall(tasks: Sequence[TaskEvidence], verdicts: Sequence[Verdict]) -> TaskFinding | None:
    """Says what holds over all tasks whose metric is a share; None if fewer than two are."""
    shares = [task for task in tasks if is_pooled(task.metric)]
    if len(shares) < 2:
        return None
    others = [task.task for task in tasks if task not in shares]
    left_out = (
        [f"Not pooled, since it is on another scale: {join_words(others)}."] if others else []
    )
    lost = [task.task for task in shares if nobody_learned(task)]
    if lost:
        left_out.append(f"Not pooled, since no method has learned there: {join_words(lost)}.")
    shares = list_pooled(tasks)
    if len(shares) < 2:
        words = "Over all tasks: nothing is pooled, since fewer than two tasks were learned."
        return TaskFinding(ALL_TASKS, words, tuple(left_out))
    methods = list(dict.fromkeys(unit.method for task in shares for unit in task.units))
    pooled = [verdict for verdict in verdicts if verdict.task == ALL_TASKS]
    ranks = {method: _pooled_scores(shares, method) for method in methods}
    for method, scores in ranks.items():
        absent = [task.task for task, found in zip(shares, scores, strict=True) if not found]
        if absent:
            left_out.append(f"{method} is not pooled: no Phase 2 score on {join_words(absent)}.")
    whole = {method: scores for method, scores in ranks.items() if all(scores)}
    spread = [_describe_middle(method, scores) for method, scores in whole.items()]
    if not pooled:
        words = "Over all tasks: no two methods share seeds on every task, so nothing is pooled."
        return TaskFinding(ALL_TASKS, words, (*spread, *left_out))
    learned = [
        method
        for method in whole
        if all(method in {unit.method for unit in find_learned(task)} for task in shares)
    ]
    if len(learned) < 2:
        words = "Over all tasks: no two methods have learned on every task."
        return TaskFinding(ALL_TASKS, words, (*spread, *left_out))
    leads = {
        method: sum(v.first == method and v.second in learned for v in pooled) for method in learned
    }
    best = max(leads, key=lambda method: leads[method])
    chosen = _choose(verdicts, ALL_TASKS, best, learned)
    if not chosen:
        words = "Over all tasks: the methods that have learned share no seeds on every task."
        return TaskFinding(ALL_TASKS, words, (*spread, *left_out))
    sentences = [describe_verdict(verdict) for verdict in chosen]
    details = (*sentences[1:], *list_cautions(chosen), *spread, *left_out)
    return TaskFinding(ALL_TASKS, sentences[0], details, tuple(_list_pairs(chosen)))


def _list_pairs(verdicts: Sequence[Verdict]) -> list[tuple[str, str]]:
    return [(f"{each.first} minus {each.second}", name_pair(each)) for each in verdicts]


def _choose(
    verdicts: Sequence[Verdict], task: str, best: str, learned: Sequence[str]
) -> list[Verdict]:
    """Returns the best method's verdicts on a task, the nearest rival that learned first."""
    found = [
        v
        for v in verdicts
        if v.task == task and best in (v.first, v.second) and {v.first, v.second} <= set(learned)
    ]
    return sorted(found, key=lambda v: v.comparison.mean if v.comparison else float("inf"))


def _pooled_scores(tasks: Sequence[TaskEvidence], method: str) -> list[list[float]]:
    """Returns one list of scores per task; empty where the method has none."""
    found = {(u.task, u.method): list(u.seed_scores().values()) for t in tasks for u in t.units}
    return [found.get((task.task, method), []) for task in tasks]


def _describe_middle(method: str, scores: list[list[float]]) -> str:
    value, interval = interquartile_mean(scores)
    shown = " ".join(filter(None, [show_score(value), show_interval(interval)]))
    return f"Interquartile mean of {method}: {shown} over {sum(map(len, scores))} runs."


def _failure_sentence(study: Study, unit: UnitEvidence) -> str:
    planned, done = study.settings.validation.seeds, len(unit.validation.scores)
    ended = len(unit.records["phase2"])
    lost = max(len(unit.phase2.failed) if unit.phase2 else 0, ended - done)
    if not lost:
        return ""
    return (
        f"{unit.method}: {lost} of {planned} runs ended without a score; they are counted here, "
        f"and its mean is over the other {done}."
    )


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
