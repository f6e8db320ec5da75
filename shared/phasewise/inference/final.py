"""Trains the optimum of a unit for use: on all data if wanted, over one or several seeds."""

import json
import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phasewise.checkpoints import CHECKPOINTS_FOLDER, free_checkpoints, newest_whole
from phasewise.errors import PhasewiseError
from phasewise.formatting import show_score
from phasewise.inference.card import CardFacts, write_card
from phasewise.inference.given import read_final_optimum, require_new
from phasewise.methods.models import load_tokenizer
from phasewise.model_files import PACKAGE_PREFIX
from phasewise.provenance import without_host
from phasewise.records import RunRecord, read_matching_record, write_json, write_record
from phasewise.runs import RunConfig, build_seeds
from phasewise.settings import ModelSettings, Study, TaskSettings
from phasewise.statistics import find_bounds, mean_interval
from phasewise.summaries import Optimum, read_phase_summary
from phasewise.tasks.data import load_splits
from phasewise.training.interface import Decision, Progress, Resumption, RunJob
from phasewise.training.saving import saving_on_term
from phasewise.training.trainer_engine import TrainerEngine
from phasewise.training.training_run import MODEL_FOLDER
from phasewise.tuning.criteria import measure_noise
from phasewise.tuning.phases import chosen_hyperparameters, expected_score
from phasewise.tuning.units import Unit

#: In a final model's folder: class names by index.
LABELS_FILE = "labels.json"
#: Steps that differ by more than this from the search's make its optimum doubtful: the best
#: rate and number of epochs depend on how many steps a run has.
_STEP_RATIO = 2.0
#: Trainings of a model in all, each with seeds of its own, while it falls behind its settings'
#: score: at high rates some seeds collapse, and no trial has had these.
_ATTEMPTS = 3

Say = Callable[[str], None]


@dataclass(frozen=True)
class _Plan:
    """What all seeds of a final model share."""

    unit: Unit
    optimum: Optimum
    config: RunConfig
    """Of seed 0."""
    train_rows: int
    search_train_rows: int


def train_final(
    study: Study,
    optimum_file: Path,
    output: Path,
    *,
    all_data: bool = False,
    seeds: int = 1,
    say: Say = print,
) -> list[Path]:
    """Trains final models with a unit's optimum; those that are there already are kept.

    A folder is complete or absent: an adapter that plain PEFT loads, or a model that plain
    transformers loads, with tokenizer, class names, ``record.json`` and model card.

    A model that falls behind what its settings scored in the search is trained again with other
    seeds, twice at most; the best is kept.

    Args:
        study: The optimum's study.
        optimum_file: ``analysis/{task}_{method}_optimal.yaml``.
        output: The model's folder; with several seeds it holds ``seed-00``, ``seed-01``, …
        all_data: Train on the search set's rows too; the report set stays closed.
        seeds: Models to train, each with its own seeds, none of them used in the study.
        say: Gets a line for each event.

    Returns:
        The models' folders.

    Raises:
        ConfigError: The optimum is missing, not final, or of another study, or ``output`` holds
            something else.
        PhasewiseError: A run diverged or does not fit in memory.
    """
    plan = _make_plan(study, optimum_file, all_data)
    names = [f"seed-{index:02d}" for index in range(seeds)] if seeds > 1 else [None]
    folders = [output / name if name else output for name in names]
    attempts = [
        [_make_job(plan, index, folder, attempt) for attempt in range(_ATTEMPTS)]
        for index, folder in enumerate(folders)
    ]
    ready = [_is_trained(folder, jobs) for folder, jobs in zip(folders, attempts, strict=True)]
    _warn_of_steps(plan, say)
    engine: TrainerEngine | None = None
    for folder, jobs, is_trained in zip(folders, attempts, ready, strict=True):
        if is_trained:
            say(f"{folder}: trained already")
            continue
        engine = engine or TrainerEngine(study.settings.machine)
        with saving_on_term(engine.end):
            _train_best(engine, plan, jobs, folder, say)
    return folders


def _make_plan(study: Study, optimum_file: Path, all_data: bool) -> _Plan:
    optimum = read_final_optimum(study, optimum_file)
    unit = Unit(study, optimum.task, optimum.method)
    config = RunConfig(
        unit_config=unit.config.model_copy(
            update={"data": unit.config.data.model_copy(update={"all_data": all_data})}
        ),
        role="final",
        index=0,
        hyperparameters=chosen_hyperparameters(unit, optimum, optimum_file),
        seeds=build_seeds(study.settings.seed, "final", unit.task, 0),
        keeps_model=True,
    )
    rows = len(load_splits(config.unit_config.data, config.seeds.subset).train)
    searched = len(load_splits(unit.config.data, config.seeds.subset).train)
    return _Plan(unit, optimum, config, rows, searched)


def _make_job(plan: _Plan, index: int, folder: Path, attempt: int) -> RunJob:
    stream = f"final-again-{attempt}" if attempt else "final"
    seeds = build_seeds(plan.unit.study.settings.seed, stream, plan.unit.task, index)
    config = plan.config.model_copy(update={"index": index, "seeds": seeds})
    place = folder.with_name(f".{folder.name}.training{attempt or ''}")
    return RunJob(config, place, plan.unit.paths.ledger)


def _is_trained(folder: Path, jobs: Sequence[RunJob]) -> bool:
    if any(read_matching_record(folder, job.config) is not None for job in jobs):
        return True
    require_new(folder, "model")
    return False


def _warn_of_steps(plan: _Plan, say: Say) -> None:
    ratio = plan.train_rows / plan.search_train_rows
    if ratio > _STEP_RATIO:
        say(
            f"warning: {plan.train_rows:,} rows are {ratio:.1f} times the search's "
            f"{plan.search_train_rows:,}: as many more steps for the same epochs; the optimum's "
            "epochs and learning rate were not searched at this size"
        )


def _train_best(
    engine: TrainerEngine, plan: _Plan, jobs: Sequence[RunJob], folder: Path, say: Say
) -> None:
    """Trains until a model keeps up with its settings; moves the best to its folder."""
    ended: list[tuple[RunRecord, RunJob]] = []
    try:
        for job in jobs:
            ended.append((record := _train_one(engine, plan, job, say), job))
            lag = _describe_lag(plan, record)
            if lag is None:
                break
            again = "trained again with other seeds" if len(ended) < len(jobs) else "the best stays"
            say(f"{job.config.name}: {lag}: {again} ({len(ended)} of {len(jobs)} trainings)")
        record, job = max(ended, key=lambda one: _rank(plan, one[0]))
        _complete(plan, record, job.folder / MODEL_FOLDER)
        folder.parent.mkdir(parents=True, exist_ok=True)
        if folder.is_dir():
            folder.rmdir()
        (job.folder / MODEL_FOLDER).rename(folder)
        for _, one in ended:
            free_checkpoints(one.folder)
    finally:
        for job in jobs:
            _keep_checkpoints(job.folder)
    say(f"{record.config.name}: wrote {folder}")


def _rank(plan: _Plan, record: RunRecord) -> float:
    score = record.search_score
    return -math.inf if score is None else plan.unit.sign * score


def _describe_lag(plan: _Plan, record: RunRecord) -> str | None:
    """Returns how far a model falls behind its settings; None if it does not, beyond noise.

    What it is scored on it has trained on, with all data: then its score should be the higher.
    """
    score, expected = record.search_score, expected_score(plan.unit, plan.optimum)
    if score is None:
        return None
    noise = measure_noise(plan.unit.metric, expected, record.search_rows, None)
    if plan.unit.sign * (score - expected) >= -(noise.sampling_error or 0.0):
        return None
    return (
        f"{plan.unit.metric} {show_score(score)} on {_set_name(record.config)} is below the "
        f"{show_score(expected)} that its settings reached in the search"
    )


def _set_name(config: RunConfig) -> str:
    return "rows it trains on" if config.unit_config.data.all_data else "the search set"


def _train_one(engine: TrainerEngine, plan: _Plan, job: RunJob, say: Say) -> RunRecord:
    name, metric = job.config.name, plan.unit.metric

    def report(progress: Progress | Resumption) -> Decision:
        if isinstance(progress, Resumption):
            for line in progress.describe():
                say(line)
            return "continue"
        score = progress.evaluation.metrics.get(metric)
        shown = "none" if score is None else f"{score:.3f}"
        epoch = progress.evaluation.epoch
        say(f"{name} · epoch {epoch:.2f} · {metric} {shown} on {_set_name(job.config)}")
        return "continue"

    say(f"{name} starts on {plan.train_rows:,} rows")
    _keep_checkpoints(job.folder)  # of a call that was killed
    (record,) = engine.train([job], report)
    if record.status != "finished":
        raise PhasewiseError(f"{job.config.label}: {record.status}: {record.message}")
    return record


def _keep_checkpoints(folder: Path) -> None:
    """Removes a run's folder, but for checkpoints that the next call goes on from."""
    if not newest_whole(folder):
        shutil.rmtree(folder, ignore_errors=True)
        return
    for path in folder.iterdir():
        if path.is_dir() and path.name != CHECKPOINTS_FOLDER:
            shutil.rmtree(path, ignore_errors=True)
        elif path.name != CHECKPOINTS_FOLDER:
            path.unlink()


def _complete(plan: _Plan, record: RunRecord, folder: Path) -> None:
    """Adds to saved weights what inference and readers need."""
    unit = record.config.unit_config
    load_tokenizer(unit.model).save_pretrained(folder)
    if unit.method.trains_adapter:
        _name_base(folder / "adapter_config.json", unit.model)
    if unit.task.labels:
        write_json(folder / LABELS_FILE, label_names(unit.task))
    environment = without_host(record.environment)
    write_record(folder, record.model_copy(update={"environment": environment}))
    phase2 = read_phase_summary(plan.unit.paths.summary("phase2"))
    scores = phase2.report.scores if phase2 else ()
    facts = CardFacts(
        record=record,
        optimum=plan.optimum,
        train_rows=plan.train_rows,
        report=phase2.report if phase2 else None,
        interval=mean_interval(scores, find_bounds(plan.unit.metric)),
    )
    write_card(folder, facts)


def label_names(task: TaskSettings) -> dict[str, Any]:
    """Returns ``id2label`` and ``label2id`` as transformers' configs hold them."""
    return {
        "id2label": {str(index): name for index, name in enumerate(task.labels)},
        "label2id": {name: index for index, name in enumerate(task.labels)},
    }


def _name_base(file: Path, model: ModelSettings) -> None:
    """Lets the adapter name its base by hub id, not by where this machine's cache holds it."""
    if model.source.startswith(PACKAGE_PREFIX) or Path(model.source).expanduser().is_dir():
        return
    content = json.loads(file.read_text(encoding="utf-8"))
    write_json(
        file, {**content, "base_model_name_or_path": model.source, "revision": model.revision}
    )
