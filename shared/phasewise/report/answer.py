"""What should I use? One line for the study, and one per task where there are several."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from shlex import quote

from phasewise.formatting import (
    BASELINE_NAMES,
    join_words,
    show_amount,
    show_count,
    show_interval,
    show_score,
)
from phasewise.learning import find_floor
from phasewise.report.evidence import TaskEvidence, UnitEvidence
from phasewise.report.gains import compare_with_baseline, find_strongest, is_beaten
from phasewise.report.learning import find_learned
from phasewise.report.unit_table import UnitRow
from phasewise.report.verdicts import Verdict
from phasewise.settings import Study
from phasewise.summaries import LINEAR_NAMES


@dataclass(frozen=True)
class Answer:
    """What one task's results recommend."""

    task: str
    method: str  # empty: none
    line: str


def answer_study(
    study: Study,
    tasks: Sequence[TaskEvidence],
    verdicts: Sequence[Verdict],
    rows: Sequence[UnitRow],
) -> tuple[str, ...]:
    """Returns the answer in one line; of several tasks it is followed by one line for each."""
    costs = {(row.task, row.method): row for row in rows}
    answers = [_answer_task(study, task, verdicts, costs) for task in tasks]
    lines = [each.line for each in answers]
    return tuple(lines if len(lines) == 1 else [_join(answers), *lines])


def _join(answers: Sequence[Answer]) -> str:
    chosen: dict[str, list[str]] = {}
    for each in answers:
        chosen.setdefault(each.method, []).append(each.task)
    if list(chosen) == [""]:
        return "Use none of these methods yet: on no task is one shown to be worth its training."
    if len(chosen) == 1:
        return f"Use {next(iter(chosen))} on each of the {len(answers)} tasks."
    parts = [
        f"{method or 'no fine-tuning yet'} on {join_words(tasks)}"
        for method, tasks in sorted(chosen.items(), key=lambda item: (not item[0], -len(item[1])))
    ]
    return f"It depends on the task: use {'; '.join(parts)}."


def _answer_task(
    study: Study,
    task: TaskEvidence,
    verdicts: Sequence[Verdict],
    costs: Mapping[tuple[str, str], UnitRow],
) -> Answer:
    scored = [unit for unit in task.units if unit.validation.mean is not None]
    if not scored:
        return Answer(task.task, "", f"{task.task}: no answer yet: no method has been validated.")
    learned = find_learned(task)
    if not learned:
        return Answer(task.task, "", f"{task.task}: use none of these methods yet: {_doubt(task)}")
    sign = 1 if task.maximize else -1
    best = max(learned, key=lambda unit: sign * (unit.validation.mean or 0.0))
    strongest = find_strongest(task)
    if strongest and not is_beaten(compare_with_baseline(study, best, strongest)):
        words = (
            f"{task.task}: use {BASELINE_NAMES[strongest.name]} "
            f"({show_score(strongest.report_score)}), which needs no fine-tuning: no method is "
            "shown to beat it."
        )
        if strongest.name in LINEAR_NAMES:
            words += f" To keep it as a model: {_name_training(study, task.task, strongest.name)}"
        return Answer(task.task, "", words)
    won = [v for v in verdicts if v.task == task.task and v.first == best.method and v.beats]
    beaten = {verdict.second for verdict in won}
    tied = [unit for unit in learned if unit.method not in beaten]
    if len(tied) > 1:
        return _choose_cheapest(task, tied, costs)
    words = f"{task.task}: use {best.method} ({_show(best)}): "
    rivals = [unit.method for unit in learned if unit is not best]
    if rivals:
        words += f"it beats {join_words(rivals)}."
    else:
        words += "no other method has learned." if len(scored) > 1 else "no other was compared."
    return Answer(task.task, best.method, words)


def _name_training(study: Study, task: str, baseline: str) -> str:
    """Returns the command that fits a baseline for use; can be pasted."""
    path = quote(os.path.relpath(study.path))
    return (
        f"phasewise train --study {path} --task {task} --baseline {baseline} --all-data "
        "--output final/"
    )


def _doubt(task: TaskEvidence) -> str:
    floor = find_floor(task.baselines) if task.baselines else None
    strongest = find_strongest(task)
    name = "what needs no training" if floor is None else floor.note or "the majority class"
    words = f"none is shown to beat {name}."
    if strongest is not None and floor is not None and strongest.name != floor.name:
        score = show_score(strongest.report_score)
        words += f" Without fine-tuning, {BASELINE_NAMES[strongest.name]} reaches {score}."
    return words


def _choose_cheapest(
    task: TaskEvidence, tied: Sequence[UnitEvidence], costs: Mapping[tuple[str, str], UnitRow]
) -> Answer:
    """Of methods that cannot be told apart the one with the fastest runs."""
    seconds = {unit.method: costs[unit.task, unit.method].seconds for unit in tied}
    names = list(seconds)
    if any(value is None for value in seconds.values()):
        words = f"{task.task}: use any of {join_words(names)}: they cannot be told apart."
        return Answer(task.task, names[0], words)
    cheap = min(tied, key=lambda unit: seconds[unit.method] or 0.0)
    others = [name for name in names if name != cheap.method]
    weights = show_count(costs[cheap.task, cheap.method].trainable_parameters)
    words = (
        f"{task.task}: use {cheap.method} ({_show(cheap)}): it cannot be told apart from "
        f"{join_words(others)} and is the cheapest ({show_amount(seconds[cheap.method])} s per "
        f"run, {weights} weights trained)."
    )
    return Answer(task.task, cheap.method, words)


def _show(unit: UnitEvidence) -> str:
    interval, _ = unit.interval
    shown = [unit.metric, show_score(unit.validation.mean), show_interval(interval)]
    return " ".join(filter(None, shown))
