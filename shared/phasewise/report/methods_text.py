"""The methods paragraph of a paper, written from the study's settings and records."""

from collections.abc import Sequence

from phasewise.formatting import join_words
from phasewise.pruners import pruner_kind
from phasewise.report.citations import (
    cite,
    find_method_keys,
    find_model_keys,
    find_task_keys,
    find_tool_keys,
)
from phasewise.report.evidence import PHASES, TaskEvidence
from phasewise.report.verdicts import ALL_TASKS, Verdict
from phasewise.samplers import sampler_kind
from phasewise.settings import SearchSettings, Study


def write_methods(study: Study, tasks: Sequence[TaskEvidence], verdicts: Sequence[Verdict]) -> str:
    """Returns the paragraph with pandoc citations (``[@hu2022lora]``).

    Sizes are those that the records hold, the planned ones before there are any.
    """
    sentences = [
        _describe_subject(study, tasks),
        _describe_sets(study, tasks),
        _describe_defaults(study),
        _describe_search(study.settings.search),
        _describe_validation(study, tasks),
        *_describe_statistics(verdicts),
        _describe_tools(study, tasks),
    ]
    return " ".join(sentences)


def _describe_subject(study: Study, tasks: Sequence[TaskEvidence]) -> str:
    model = study.settings.model
    revision = f", revision {model.revision}" if model.revision else ""
    methods = [
        name.replace("_", " ") + cite(find_method_keys(study.methods[name]))
        for name in dict.fromkeys(unit.method for task in tasks for unit in task.units)
    ]
    names = [f"{each.task}{cite(find_task_keys(each.task))} ({each.metric})" for each in tasks]
    return (
        f"We fine-tuned {model.source.removeprefix('package:')}{revision}"
        f"{cite(find_model_keys(model.source))} with {join_words(methods)} on {join_words(names)}."
    )


def _describe_sets(study: Study, tasks: Sequence[TaskEvidence]) -> str:
    sizes = "; ".join(_describe_rows(study, task) for task in tasks)
    opened = sum(len(task.ledger) for task in tasks)
    logged = f" (opened {opened} times, each time logged)" if opened else ""
    return (
        "For each task a train sample, a search set carved from the training split and a report "
        f"set were kept disjoint by row and by text ({sizes}). Hyperparameters were chosen on the "
        f"search set alone; only final scores opened the report set{logged}."
    )


def _describe_rows(study: Study, task: TaskEvidence) -> str:
    settings, found = study.tasks[task.task], task.baselines
    if found is None:
        train = "all remaining" if settings.train_rows is None else str(settings.train_rows)
        return f"{task.task}: {train} training rows"
    where = (
        "carved from it too"
        if settings.splits.report is None
        else f"the official {settings.splits.report} split"
    )
    return (
        f"{task.task}: {found.train_rows} training, {found.search_rows} search and "
        f"{found.report_rows} report examples, the latter {where}"
    )


def _describe_defaults(study: Study) -> str:
    return (
        "As a baseline each method was trained at its published default with "
        f"{study.settings.baselines.seeds} seeds."
    )


def _describe_search(search: SearchSettings) -> str:
    sampler, stopper = sampler_kind(search.sampler), pruner_kind(search.pruner)
    start = sampler.fixed.count(search.trials) if sampler.fixed else 0
    how = sampler.words.format(start=start) + cite(sampler.works)
    pruner = ""
    if stopper.words:
        pruner = f", stopping unpromising trials by {stopper.words}{cite(stopper.works)}"
    top = min(search.confirm_top, search.trials)
    return f"Per task and method {search.trials} trials were drawn by {how}{pruner}; the " + (
        f"{top} best were trained again with {search.confirm_seeds} fresh seeds each, and the "
        "one with the best mean over these was chosen."
        if top > 1
        else f"best was trained again with {search.confirm_seeds} fresh seeds."
    )


def _describe_validation(study: Study, tasks: Sequence[TaskEvidence]) -> str:
    seeds = study.settings.validation.seeds
    ended = [record for task in tasks for unit in task.units for record in unit.records["phase2"]]
    lost = sum(record.status != "finished" for record in ended)
    failed = f" ({lost} of {len(ended)} runs ended without a score)" if lost else ""
    return (
        f"The chosen configuration was trained with {seeds} further seeds, which draw the "
        "initialization, the order of the data and the train sample by separate streams, are "
        f"shared by all methods and were not used in the search{failed}."
    )


def _describe_statistics(verdicts: Sequence[Verdict]) -> list[str]:
    if not verdicts:
        return []
    keys = ("searle1992variance", "satterthwaite1946approximate")
    crossed = any(v.comparison and v.comparison.examples is not None for v in verdicts)
    over = "seeds and report examples as crossed random effects" if crossed else "seeds"
    how = f"with variance components and Satterthwaite's degrees of freedom{cite(keys)}"
    sentences = [
        "Methods were compared by their paired differences on the same seeds"
        + (" and examples" if crossed else "")
        + f"; intervals (95 %) and p-values are those of a t test over {over}"
        + (f" {how}" if crossed else "")
        + f", corrected by Holm's method for all {verdicts[0].family_size} comparisons"
        + f"{cite(['holm1979simple'])}. P(A > B) is the Mann-Whitney estimate with Newcombe's "
        + f"interval{cite(['newcombe2006confidence'])}."
    ]
    if any(verdict.task == ALL_TASKS for verdict in verdicts):
        keys = ("agarwal2021precipice", "zou2008construction")
        sentences.append(
            "Over tasks, differences were averaged with equal weight, the tasks being strata; "
            "interquartile means have stratified bootstrap intervals, and P(A > B) is pooled by "
            f"its arms{cite(keys)}."
        )
    best = cite(["tang2020showing"])
    return [*sentences, f"Expected best scores against budget are unbiased estimates{best}."]


def _describe_tools(study: Study, tasks: Sequence[TaskEvidence]) -> str:
    records = [r for task in tasks for unit in task.units for p in PHASES for r in unit.records[p]]
    libraries = dict.fromkeys(name for record in records for name in record.environment)
    devices = dict.fromkeys(r.environment["device"] for r in records if "device" in r.environment)
    where = f" on {join_words(list(devices))}" if devices else ""
    seconds = sum(record.cost.total_seconds for record in records if record.cost is not None)
    took = f"{seconds / 3600:.1f} hours" if seconds >= 3600 else f"{seconds / 60:.1f} minutes"
    cost = f"; {len(records)} runs took {took} in all" if records else ""
    clip = study.settings.training.max_grad_norm
    return (
        f"All runs used AdamW{cite(['loshchilov2019decoupled'])} with gradients clipped at "
        f"{clip:g}{where}{cost}. The study was run with Phasewise{cite(find_tool_keys(libraries))}."
    )
