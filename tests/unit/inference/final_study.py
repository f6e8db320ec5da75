"""Small studies with an optimum that nobody searched for, and their files."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from phasewise.settings import Study, load_study
from phasewise.summaries import Optimum, write_optimum
from synthetic import UnitWriter

#: Texts that a careless CSV reader breaks: commas, quotes, newlines, non-ASCII.
TOPICS = ["sport, ball", 'a "quoted" film\nof two lines', "Grüße aus Zürich 🚀"]
QUICK = {"learning_rate": 5e-3, "batch_size": 8, "epochs": 1, "warmup_ratio": 0.0}
LORA = {**QUICK, "lora_rank": 4, "lora_alpha": 8.0, "lora_dropout": 0.0, "target_modules": "all"}


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])
    return path


def read_csv(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.reader(stream))


def write_study_file(path: Path, model: Path, tasks: dict[str, Any]) -> Study:
    methods = ("full_finetune", "lora", "dora", "rslora", "qlora", "int8_lora")
    content = {
        "name": "small",
        "model": {"source": str(model), "dtype": "float32"},
        "tasks": tasks,
        "methods": {name: {} for name in methods},
        "machine": {"device": "cpu"},
        "tracking": {"wandb": False},
    }
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return load_study(path)


def write_found(study: Study, method: str, **changes: Any) -> Path:
    """Writes the optimum of the study's only task."""
    (task,) = study.tasks
    values = QUICK if method == "full_finetune" else LORA
    content = {
        "best_hyperparameters": values,
        "best_value": 0.81,
        "n_trials": 10,
        "study_name": f"small_{task}_{method}",
        "final": True,
        "task": task,
        "method": method,
        "metric": "accuracy",
        "direction": "maximize",
        "best_trial": 3,
        "confirmed_value": 0.79,
        "confirmed_standard_error": 0.01,
        "confirmed_seeds": 2,
        "baseline_value": 0.7,
        "settings_hash": "0123",
    }
    path = UnitWriter(study, task, method).paths.optimum
    write_optimum(path, Optimum(**{**content, **changes}))
    return path
