"""Records of a study that never trained: made-up scores, written the way real runs write them."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from phasewise.errors import DataError
from phasewise.model_files import fingerprint_model
from phasewise.provenance import library_versions
from phasewise.records import Evaluation, RunCost, RunRecord, RunStatus, TrainPoint, write_record
from phasewise.runs import (
    DataConfig,
    RunConfig,
    UnitConfig,
    UnitPaths,
    build_data,
    build_seeds,
    hash_content,
    phase_hash,
    task_baselines_path,
    task_hash,
)
from phasewise.seeding import derive_seed
from phasewise.settings import Study
from phasewise.statistics import summarize_scores
from phasewise.summaries import (
    Baseline,
    Criterion,
    Optimum,
    PhaseSummary,
    RangeFlag,
    TaskBaselines,
    read_optimum,
    write_optimum,
    write_summary,
)
from phasewise.tasks.examples import ExamplePrediction
from phasewise.tasks.predictions import PREDICTIONS_FILE, write_predictions
from phasewise.unit_runs import describe_search

EPOCHS = 3
STEPS = 30


def _data(study: Study, task: str) -> DataConfig:
    """The task's data; of a study whose files nobody wrote, a stand-in."""
    try:
        return build_data(study, task)
    except DataError:
        return DataConfig(
            task=study.tasks[task],
            split_seed=derive_seed(study.settings.seed, "split", task),
            data_dir=None,
            data_fingerprint="sha256:0123",
        )


def _unit(study: Study, task: str, method: str) -> UnitConfig:
    """The unit as the study has it now."""
    return UnitConfig(
        study=study.settings.name,
        data=_data(study, task),
        method=study.methods[method],
        model=study.settings.model,
        model_fingerprint=fingerprint_model(study.settings.model),
        training=study.settings.training,
        libraries=library_versions(),
    )


def make_config(study: Study, task: str, method: str, name: str, **changes: Any) -> RunConfig:
    """A run named trial-003, confirm-003-1, seed-04 or default-1, with the seeds of its index."""
    role, *numbers = name.split("-")
    repeat = int(numbers[1]) if len(numbers) > 1 else 0
    unit = _unit(study, task, method)
    default = study.default_hyperparameters(task, method)
    stream = {"default": "phase0", "trial": "phase1", "seed": "phase2"}.get(role, role)
    seeds = 0 if role == "trial" else int(numbers[-1])
    return RunConfig(
        unit_config=unit,
        role=role,
        index=int(numbers[0]),
        repeat=repeat,
        search=hash_content(describe_search(study, task, method))
        if role in ("trial", "confirm")
        else "",
        hyperparameters=default.model_copy(update=changes),
        seeds=build_seeds(study.settings.seed, stream, task, seeds),
        opens_report_set=role in ("default", "seed"),
    )


def make_record(
    config: RunConfig,
    score: float | None,
    *,
    status: RunStatus = "finished",
    report_score: float | None = None,
    message: str = "",
) -> RunRecord:
    """A record whose curve rises to ``score`` over three epochs; a pruned one stops after one."""
    metric = config.unit_config.task.metric
    epochs = 1 if status == "pruned" else EPOCHS
    evaluations = [
        Evaluation(
            step=epoch * STEPS // EPOCHS,
            epoch=epoch,
            train_loss=1.0 / epoch,
            metrics={metric: score * (0.7 + 0.1 * epoch)},
        )
        for epoch in range(1, epochs + 1)
        if score is not None
    ]
    points = [
        TrainPoint(step=step, loss=math.exp(-step / STEPS), learning_rate=1e-3)
        for step in range(1, epochs * STEPS // EPOCHS + 1)
    ]
    cost = RunCost(
        train_seconds=10.0,
        total_seconds=12.5,
        peak_memory_mb=512.0,
        train_tokens=4096,
        trainable_parameters=294_912,
        total_parameters=22_000_000,
        adapter_bytes=1_179_648,
        micro_batch_size=8,
    )
    return RunRecord(
        config=config,
        hash=config.hash,
        status=status,
        message=message,
        evaluations=tuple(evaluations),
        train_points=tuple(points),
        search_metrics={} if score is None else {metric: score},
        report_metrics={} if report_score is None else {metric: report_score},
        report_rows=0 if report_score is None else 300,
        search_rows=200,
        cost=cost if status in {"finished", "pruned"} else None,
        environment={"commit": "abcdef123456", "torch": "2.13.0", "host": "laptop"},
        started="2026-01-01T10:00:00+00:00",
        ended="2026-01-01T10:00:13+00:00",
    )


class UnitWriter:
    """Writes one unit's phases into a study's folders."""

    def __init__(self, study: Study, task: str, method: str) -> None:
        self.study, self.task, self.method = study, task, method
        self.paths = UnitPaths(study, task, method)

    def hash(self, phase: Any) -> str:
        """Of the settings that a phase of the unit is of."""
        unit = _unit(self.study, self.task, self.method)
        return phase_hash(self.study, phase, self.task, self.method, unit)

    def run(self, name: str, score: float | None, **how: Any) -> RunRecord:
        optimum = read_optimum(self.paths.optimum) if name.startswith("seed-") else None
        chosen = {} if optimum is None else optimum.best_hyperparameters
        changes = how.pop("hyperparameters", chosen)
        config = make_config(self.study, self.task, self.method, name, **changes)
        record = make_record(config, score, **how)
        write_record(self.paths.run(config.phase, name), record)
        return record

    def phase0(self, search: Sequence[float], report: Sequence[float]) -> None:
        names = [f"default-{index}" for index in range(len(search))]
        for name, left, right in zip(names, search, report, strict=True):
            self.run(name, left, report_score=right)
        self._summary("phase0", names, search, report)

    def phase1(
        self, scores: Sequence[float], *, confirm: Sequence[float] = (), final: bool = True
    ) -> Optimum:
        for number, score in enumerate(scores):
            changes = {"learning_rate": 10 ** (-4 + 0.2 * number), "batch_size": 4 << number % 3}
            self.run(f"trial-{number:03d}", score, hyperparameters=changes)
        best = int(np.argmax(scores))
        for index, score in enumerate(confirm):
            self.run(f"confirm-{best:03d}-{index}", score)
        confirmed = summarize_scores(confirm)
        optimum = Optimum(
            best_hyperparameters={"learning_rate": 10 ** (-4 + 0.2 * best), "batch_size": 16},
            best_value=scores[best],
            n_trials=len(scores),
            study_name=f"{self.study.settings.name}_{self.task}_{self.method}",
            final=final,
            task=self.task,
            method=self.method,
            metric=self.study.tasks[self.task].metric,
            direction=self.study.tasks[self.task].direction,
            best_trial=best,
            confirmed_value=confirmed.mean,
            confirmed_standard_error=confirmed.standard_error,
            confirmed_seeds=len(confirm),
            model_based_trials=max(0, len(scores) - 4),
            trial_states={"finished": len(scores)},
            baseline_value=0.6,
            improvement=(confirmed.mean or scores[best]) - 0.6,
            range_flags=(
                RangeFlag(parameter="learning_rate", value=9e-3, edge="max", proposed=(1e-4, 3e-2)),
            ),
            success_criteria=(
                Criterion(name="best-worst gap > 5 %", met=True, detail="gap 0.120"),
            ),
            settings_hash=self.hash("phase1"),
            provenance={"commit": "abcdef123456"},
        )
        write_optimum(self.paths.optimum if final else self.paths.running_optimum, optimum)
        return optimum

    def phase2(self, scores: Sequence[float], *, failed: tuple[str, ...] = ()) -> None:
        names = [f"seed-{index:02d}" for index in range(len(scores))]
        for name, score in zip(names, scores, strict=True):
            self.run(name, score, report_score=score)
        self._summary("phase2", names, scores, scores, failed=failed)

    def phase2_examples(self, right: np.ndarray) -> None:
        """Phase 2 with predictions: ``right`` is 1 or 0, or a loss, (seeds, examples)."""
        labels = self.study.tasks[self.task].labels or ("", "")
        self.phase2([float(row.mean()) for row in right])
        for index, row in enumerate(right):
            rows = [
                ExamplePrediction(
                    f"row-{i}", labels[int(ok == 1)], (labels[1],), float(ok), float(ok), ()
                )
                for i, ok in enumerate(row)
            ]
            folder = self.paths.run("phase2", f"seed-{index:02d}")
            write_predictions(folder / PREDICTIONS_FILE, rows)

    def _summary(
        self,
        phase: Any,
        names: Sequence[str],
        search: Sequence[float],
        report: Sequence[float],
        failed: tuple[str, ...] = (),
    ) -> None:
        summary = PhaseSummary(
            phase=phase,
            task=self.task,
            method=self.method,
            metric=self.study.tasks[self.task].metric,
            settings_hash=self.hash(phase),
            hyperparameters={"learning_rate": 1e-3},
            search=summarize_scores(search),
            report=summarize_scores(report),
            runs=tuple(f"{phase}/{name}" for name in names),
            failed=failed,
        )
        write_summary(self.paths.summary(phase), summary)


def write_baselines(study: Study, task: str, *, majority: float = 0.5) -> None:
    """Majority, TF-IDF and frozen-encoder baselines; zero-shot without a score."""
    scores = {"majority": majority, "tfidf_logistic_regression": 0.61, "frozen_encoder_probe": 0.68}
    baselines = [
        Baseline(name=name, search_score=score, report_score=score + 0.005)  # type: ignore[arg-type]
        for name, score in scores.items()
    ]
    baselines.append(
        Baseline(name="zero_shot", search_score=None, report_score=None, note="an encoder")
    )
    content = TaskBaselines(
        task=task,
        metric=study.tasks[task].metric,
        settings_hash=task_hash(study, task, _unit(study, task, next(iter(study.methods)))),
        baselines=tuple(baselines),
        train_rows=32,
        search_rows=200,
        report_rows=300,
    )
    write_summary(task_baselines_path(study, task), content)


def write_ledger(study: Study, task: str, lines: int) -> Path:
    """A ledger of so many accesses."""
    path = UnitPaths(study, task, next(iter(study.methods))).ledger
    path.parent.mkdir(parents=True, exist_ok=True)
    entry = (
        '{"time": "2026-01-01T10:00:00+00:00", "user": "ann", "host": "laptop", "task": "t", '
        '"run": "seed-00", "reason": "phase2", "rows": 300}\n'
    )
    path.write_text(entry * lines, encoding="utf-8")
    return path
