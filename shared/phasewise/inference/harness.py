"""Scores a causal model with lm-evaluation-harness, an optional extra; also the way to ELMB."""

import re
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pydantic import Field

from phasewise.errors import ConfigError, suggest_nearest
from phasewise.inference.loading import LoadedModel
from phasewise.settings import CAUSAL_LM, Section

EXTRA = "phasewise[lm-eval]"
_TASK_NAME = re.compile(r"^task:\s*['\"]?([^'\"#\n]+?)['\"]?\s*(?:#.*)?$", re.MULTILINE)


class HarnessScore(Section):
    """One metric of one harness task."""

    task: str
    metric: str
    value: float
    standard_error: float | None = Field(description="The harness's; None where it has none.")
    rows: int | None


def require_harness() -> None:
    """Checks that lm-evaluation-harness is installed, before a model is loaded for it.

    Raises:
        ConfigError: It is not; the extra that brings it is named.
    """
    if find_spec("lm_eval") is None:
        raise ConfigError(
            f"--lm-eval needs lm-evaluation-harness, which is not installed: pip install '{EXTRA}'"
        )


def run_harness(
    model: LoadedModel,
    tasks: Sequence[str],
    *,
    include: Path | None = None,
    limit: int | None = None,
    batch_size: int = 8,
) -> tuple[HarnessScore, ...]:
    """Returns the scores of harness tasks, each task's main metrics with their standard errors.

    Args:
        model: A causal language model; adapters are used as they are.
        tasks: Names the harness knows, or paths of task YAML files.
        include: Folder of further tasks, such as the one of ELMB's (its fork's lm_eval/tasks/elmb).
        limit: First so many rows of each task only; None: all.
        batch_size: Rows a forward pass.

    Raises:
        ConfigError: The harness is not installed, a task is unknown, or the model generates none.
    """
    require_harness()
    if model.source.auto_class != CAUSAL_LM:
        raise ConfigError(
            f"--lm-eval: {model.source.folder}: expected a causal language model, "
            f"got {model.source.auto_class}"
        )
    harness = import_module("lm_eval")
    wrapper = import_module("lm_eval.models.huggingface")
    manager, names = _open_tasks(tasks, include)
    results = harness.simple_evaluate(
        model=wrapper.HFLM(
            pretrained=model.model, tokenizer=model.tokenizer, batch_size=batch_size
        ),
        tasks=names,
        task_manager=manager,
        limit=limit,
        log_samples=False,
        bootstrap_iters=1000,
    )
    return _collect(results)


def _open_tasks(tasks: Sequence[str], include: Path | None) -> tuple[Any, list[str]]:
    files = [Path(task) for task in tasks if task.endswith((".yaml", ".yml"))]
    folders = [str(file.parent) for file in files] + ([str(include)] if include else [])
    if include is not None and not include.is_dir():
        raise ConfigError(
            f"--lm-eval-include: expected a folder of task YAMLs, no folder {include}"
        )
    names = [_read_name(Path(t)) if t.endswith((".yaml", ".yml")) else t for t in tasks]
    open_manager = import_module("lm_eval.tasks").TaskManager
    manager = open_manager(include_path=folders or None, include_defaults=False)
    if not set(names) <= set(manager.all_tasks):  # the harness's own thousands take seconds
        manager = open_manager(include_path=folders or None)
    for name in names:
        if name not in manager.all_tasks:
            raise ConfigError(
                f"--lm-eval: the harness has no task '{name}'"
                f"{suggest_nearest(name, manager.all_tasks) if len(name) > 2 else ''}"
            )
    return manager, names


def _read_name(file: Path) -> str:
    """Harness YAMLs hold tags of their own (``!function``), so only the name is looked for."""
    if not file.is_file():
        raise ConfigError(f"--lm-eval: no such task file: {file}")
    found = _TASK_NAME.search(file.read_text(encoding="utf-8"))
    if found is None:
        raise ConfigError(f"{file}: expected a line `task: NAME`")
    return found.group(1)


def _collect(results: dict[str, Any]) -> tuple[HarnessScore, ...]:
    scores = []
    for task, values in results["results"].items():
        for key, value in values.items():
            metric, _, filtered = key.partition(",")
            if not isinstance(value, (int, float)) or metric.endswith("_stderr") or not filtered:
                continue
            error = values.get(f"{metric}_stderr,{filtered}")
            rows = results.get("n-samples", {}).get(task, {}).get("effective")
            scores.append(
                HarnessScore(
                    task=task,
                    metric=metric if filtered == "none" else f"{metric} ({filtered})",
                    value=float(value),
                    standard_error=float(error) if isinstance(error, (int, float)) else None,
                    rows=rows,
                )
            )
    return tuple(scores)
