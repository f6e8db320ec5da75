"""The reproducibility checklist, filled in from the study as far as files can answer it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from phasewise.formatting import join_words
from phasewise.report.columns import Column
from phasewise.report.evidence import PHASES, TaskEvidence
from phasewise.report.verdicts import Verdict
from phasewise.settings import METRICS, Study
from phasewise.settings.space import Parameter
from phasewise.settings.task import FilesSource, HubSource

Answer = Literal["yes", "no", "in part", "authors"]


@dataclass(frozen=True)
class ChecklistItem:
    """One question of the NeurIPS or the machine-learning reproducibility checklist."""

    question: str
    answer: Answer  # authors: no file can answer it
    detail: str


CHECKLIST_COLUMNS: tuple[Column[ChecklistItem], ...] = (
    Column("question", lambda item: item.question, words=True),
    Column("answer", lambda item: item.answer, words=True),
    Column("detail", lambda item: item.detail, words=True),
)


def fill_checklist(
    study: Study, tasks: Sequence[TaskEvidence], verdicts: Sequence[Verdict]
) -> tuple[ChecklistItem, ...]:
    """Returns the items that apply to a fine-tuning study (Pineau et al. 2021; NeurIPS 4 to 8)."""
    return (
        _answer_data(study, tasks),
        _answer_splits(study, tasks),
        _answer_metric(tasks),
        _answer_ranges(study, tasks),
        _answer_choice(study),
        _answer_runs(tasks),
        _answer_variation(tasks, verdicts),
        _answer_report_set(tasks),
        _answer_compute(tasks),
        _answer_code(tasks),
        ChecklistItem(
            "Licenses of data and model; consent; societal impact", "authors", "not in any record"
        ),
    )


def _answer_data(study: Study, tasks: Sequence[TaskEvidence]) -> ChecklistItem:
    model = study.settings.model
    open_ends = [
        task.task for task in tasks if isinstance(study.tasks[task.task].source, FilesSource)
    ]
    words = [_describe_source(study, task.task) for task in tasks]
    pinned = model.revision is not None or model.source.startswith("package:")
    words.append(f"model {model.source}{f' at {model.revision}' if model.revision else ''}")
    missing = [f"{task} is read from local files" for task in open_ends]
    missing += [] if pinned else ["the model's revision is not pinned"]
    answer: Answer = "in part" if missing else "yes"
    return ChecklistItem(
        "Data and model named, versions pinned", answer, "; ".join(words + missing)
    )


def _describe_source(study: Study, task: str) -> str:
    source = study.tasks[task].source
    if isinstance(source, HubSource):
        config = f"/{source.config}" if source.config else ""
        return f"{task}: {source.path}{config} at {source.revision[:12]}"
    if isinstance(source, FilesSource):
        return f"{task}: {join_words([path.name for path in source.files.values()])}"
    return f"{task}: package {source.package}, {source.file}"


def _answer_splits(study: Study, tasks: Sequence[TaskEvidence]) -> ChecklistItem:
    known = [task for task in tasks if task.baselines is not None]
    sizes = [
        f"{task.task} {found.train_rows} / {found.search_rows} / {found.report_rows}"
        for task in known
        if (found := task.baselines) is not None
    ]
    detail = f"train / search / report: {'; '.join(sizes)}" if sizes else "Phase 0 has not been run"
    cut = join_words([f"{task.task} {study.tasks[task.task].max_length}" for task in tasks])
    answer: Answer = "yes" if len(known) == len(tasks) else "in part" if known else "no"
    detail += f". Disjoint by row and text; texts cut at tokens: {cut}"
    return ChecklistItem("Sizes and making of train, search and report sets", answer, detail)


def _answer_metric(tasks: Sequence[TaskEvidence]) -> ChecklistItem:
    words = [
        f"{t.task}: {t.metric} ({METRICS[t.metric].words}), "
        f"{'higher' if t.maximize else 'lower'} is better"
        for t in tasks
    ]
    return ChecklistItem("Measures defined", "yes", "; ".join(words))


def _answer_ranges(study: Study, tasks: Sequence[TaskEvidence]) -> ChecklistItem:
    methods = dict.fromkeys(unit.method for task in tasks for unit in task.units)
    words = [
        f"{method}: "
        + ", ".join(f"{name} {_show(p)}" for name, p in study.parameters_of(method).items())
        for method in methods
    ]
    return ChecklistItem("Range of hyperparameters considered", "yes", "; ".join(words))


def _show(parameter: Parameter) -> str:
    content = parameter.model_dump()
    if "value" in content:
        return f"= {content['value']}"
    if "values" in content:
        return "{" + ", ".join(map(str, content["values"])) + "}"
    scale = " (log)" if str(content["type"]).startswith("log") else ""
    return f"{content['min']:g} to {content['max']:g}{scale}"


def _answer_choice(study: Study) -> ChecklistItem:
    search = study.settings.search
    return ChecklistItem(
        "How the best hyperparameters were chosen",
        "yes",
        f"{search.trials} trials per unit ({search.sampler}, pruner {search.pruner}); best "
        f"{min(search.confirm_top, search.trials)} repeated on {search.confirm_seeds} fresh seeds; "
        "chosen by that mean on the search set; raw and confirmed value are both reported",
    )


def _answer_runs(tasks: Sequence[TaskEvidence]) -> ChecklistItem:
    units = [unit for task in tasks for unit in task.units]
    counts = {phase: sum(len(unit.records[phase]) for unit in units) for phase in PHASES}
    records = [record for unit in units for phase in PHASES for record in unit.records[phase]]
    lost = sum(record.status not in {"finished", "pruned"} for record in records)
    words = ", ".join(f"{n} in {phase.replace('phase', 'Phase ')}" for phase, n in counts.items())
    answer: Answer = "yes" if all(counts.values()) else "in part" if records else "no"
    detail = f"{words}; {lost} ended without a score and are counted"
    return ChecklistItem("Exact number of training and evaluation runs", answer, detail)


def _answer_variation(tasks: Sequence[TaskEvidence], verdicts: Sequence[Verdict]) -> ChecklistItem:
    question = "Central tendency, variation and uncertainty (NeurIPS 7)"
    seeds = [len(unit.validation.scores) for task in tasks for unit in task.units]
    if not seeds or max(seeds) < 2:
        return ChecklistItem(question, "no", "no unit has two scores in Phase 2")
    span = f"{min(seeds)}" if min(seeds) == max(seeds) else f"{min(seeds)} to {max(seeds)}"
    detail = (
        f"mean, SD and 95 % interval over {span} seeds and, where predictions are kept, report "
        f"examples; {len(verdicts)} paired comparisons, Holm's correction; assumes roughly normal "
        "means, beside an exact sign-flip test"
    )
    return ChecklistItem(question, "yes" if min(seeds) > 1 else "in part", detail)


def _answer_report_set(tasks: Sequence[TaskEvidence]) -> ChecklistItem:
    opened = sum(len(task.ledger) for task in tasks)
    if not opened:
        return ChecklistItem("Report set unseen by the search", "no", "no ledger was found")
    roles = [entry.get("role") for task in tasks for entry in task.ledger]
    trials = sum(role in {"trial", "confirm"} for role in roles)
    detail = f"opened {opened} times, each time logged; {trials} times by runs of the search"
    return ChecklistItem("Report set unseen by the search", "no" if trials else "yes", detail)


def _answer_compute(tasks: Sequence[TaskEvidence]) -> ChecklistItem:
    records = [r for task in tasks for unit in task.units for p in PHASES for r in unit.records[p]]
    costs = [record.cost for record in records if record.cost is not None]
    if not costs:
        return ChecklistItem("Compute and infrastructure (NeurIPS 8)", "no", "no run has a cost")
    devices = dict.fromkeys(r.environment["device"] for r in records if "device" in r.environment)
    peak = max((cost.peak_memory_mb or 0.0 for cost in costs), default=0.0)
    hours = sum(cost.total_seconds for cost in costs) / 3600
    words = [f"{hours:.2f} hours of training in all", f"peak memory {peak:.0f} MB", *devices]
    detail = "; ".join(words) + "; versions in the section Reproduce; energy was not measured"
    return ChecklistItem("Compute and infrastructure (NeurIPS 8)", "yes", detail)


def _answer_code(tasks: Sequence[TaskEvidence]) -> ChecklistItem:
    records = [r for task in tasks for unit in task.units for p in PHASES for r in unit.records[p]]
    commits = dict.fromkeys(r.environment.get("commit", "unknown") for r in records)
    clean = [commit for commit in commits if commit != "unknown" and "dirty" not in commit]
    answer: Answer = "yes" if clean and len(commits) == 1 else "in part" if clean else "no"
    detail = f"commit {join_words(list(commits))}" if commits else "no run yet"
    return ChecklistItem("Code, commands and one commit for all runs", answer, detail)
