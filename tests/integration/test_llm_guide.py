"""A search of JSONL files from the command line, for real, and what it leaves."""

import contextlib
import csv
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from phasewise.cli import searching
from phasewise.cli.app import app
from tiny_models import write_tiny_decoder

#: The guide's own space, letter by letter but for fewer epochs and the higher rates that so small
#: a model needs; `1e-3` is a text to PyYAML.
SPACE = """\
training:
  learning_rate:
    type: "log_uniform"
    min: 1e-3
    max: 1e-1
  batch_size:
    type: "categorical"
    values: [1, 2, 4, 8]
  num_train_epochs:
    type: "int"
    min: 1
    max: 2
  warmup_ratio:
    type: "uniform"
    min: 0.03
    max: 0.1
  weight_decay:
    type: "log_uniform"
    min: 0.001
    max: 0.1

lora:
  r:
    type: "categorical"
    values: [8, 16, 32, 64]
  alpha:
    type: "categorical"
    values: [16, 32, 64, 128]
  dropout:
    type: "uniform"
    min: 0.0
    max: 0.2
"""
TRIALS = 3


def _write_rows(path: Path, numbers: range) -> None:
    rows = [
        {
            "instruction": f'Say "{n}", please.\nThen stop – naïvely.',
            "input": "" if n % 2 else f"{n}, {n}",
            "output": f"{n}! 🎈",
        }
        for n in numbers
    ]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Runs the guide's command; returns its output folder and what it printed."""
    folder = tmp_path_factory.mktemp("guide")
    write_tiny_decoder(folder / "model", max_position_embeddings=512)
    _write_rows(folder / "train.jsonl", range(24))
    _write_rows(folder / "val.jsonl", range(24, 32))
    (folder / "space.yaml").write_text(SPACE)
    output = folder / "hpo-results"
    flags = {
        "--base_model": folder / "model",
        "--train_file": folder / "train.jsonl",
        "--validation_file": folder / "val.jsonl",
        "--output_dir": output,
        "--num_trials": TRIALS,
        "--optimization_objective": "eval_loss",
        "--search_space": folder / "space.yaml",
        "--max-length": 384,
        "--device": "cpu",
    }
    words = [str(word) for pair in flags.items() for word in pair]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("PHASEWISE_CACHE", str(folder / "cache"))
        patch.setattr(searching, "tracking", lambda _: contextlib.nullcontext())
        done = CliRunner().invoke(app, ["search", *words])
    assert done.exit_code == 0, done.output
    return output, done.stdout


def test_every_documented_file_is_there_and_they_agree(searched: tuple[Path, str]) -> None:
    output, _ = searched
    best = yaml.safe_load((output / "best_config.yaml").read_text())
    with (output / "trials_summary.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["trial"] for row in rows] == [str(number) for number in range(TRIALS)]
    assert (output / "optimization_plot.png").read_bytes().startswith(b"\x89PNG")
    folders = sorted((output / "trial_results").iterdir())
    assert [folder.name for folder in folders] == [f"trial_{n}" for n in range(TRIALS)]
    for folder, row in zip(folders, rows, strict=True):
        results = json.loads((folder / "results.json").read_text())
        config = yaml.safe_load((folder / "config.yaml").read_text())
        assert results["status"] == row["status"]
        assert float(row["training.learning_rate"]) == config["training"]["learning_rate"]
        if results["status"] == "finished":
            assert float(row["eval_loss"]) == results["search_metrics"]["eval_loss"]
    losses = {float(row["eval_loss"]) for row in rows if row["status"] == "finished"}
    assert best["result"]["best_value"] == pytest.approx(min(losses))
    assert len(losses) > 1, "trials that are all alike would be no search"


def test_trials_stay_inside_the_guides_ranges(searched: tuple[Path, str]) -> None:
    output, _ = searched
    for number in range(1, TRIALS):  # trial 0 is the published default
        text = (output / "trial_results" / f"trial_{number}" / "config.yaml").read_text()
        config: dict[str, Any] = yaml.safe_load(text)
        training, lora = config["training"], config["lora"]
        assert 1e-3 <= training["learning_rate"] <= 1e-1
        assert training["batch_size"] in (1, 2, 4, 8)
        assert 0.03 <= training["warmup_ratio"] <= 0.1
        assert 0.001 <= training["weight_decay"] <= 0.1
        assert lora["r"] in (8, 16, 32, 64)
        assert lora["alpha"] in (16, 32, 64, 128)
        assert 0 <= lora["dropout"] <= 0.2


def test_best_block_is_printed_with_the_right_direction(searched: tuple[Path, str]) -> None:
    output, said = searched
    best = yaml.safe_load((output / "best_config.yaml").read_text())
    printed = json.loads(said.partition("Best hyperparameter configuration:\n")[2].split("\n\n")[0])
    assert printed == {"training": best["training"], "lora": best["lora"]}
    assert f"Best value: {best['result']['best_value']:.4g} (lower is better)" in said


def test_search_found_better_than_the_published_default(searched: tuple[Path, str]) -> None:
    output, _ = searched
    result = yaml.safe_load((output / "best_config.yaml").read_text())["result"]
    assert result["direction"] == "minimize"
    assert result["best_value"] < result["published_default"]
    assert result["best_value"] < 5.7, "ln(320) = 5.77 is to know nothing"
