"""Results as pandas tables: those of the report, and what docs/python.md says of them."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

import phasewise
from phasewise.errors import ConfigError
from phasewise.recipes.suites.experiments import ExperimentRun, write_experiments
from phasewise.report import build_report
from phasewise.settings import Study
from phasewise.unit_runs import read_runs
from synthetic import UnitWriter

TASK = "rotten_tomatoes"
DOCUMENT = Path(__file__).parents[2] / "docs" / "python.md"


@pytest.fixture
def study(write_study: Callable[..., Study]) -> Study:
    """A study of simulated runs: LoRA is right on 9 of 10 examples, full fine-tuning on 6."""
    study = write_study(validation={"seeds": 6})
    rng = np.random.default_rng(0)
    for method, rate in (("lora", 0.9), ("full_finetune", 0.6)):
        unit = UnitWriter(study, TASK, method)
        unit.phase0([0.7, 0.71], [0.7, 0.72])
        unit.phase1([0.7, 0.75, 0.72], confirm=[0.73, 0.74])
        unit.phase2_examples((rng.random((6, 300)) < rate).astype(float))
    return study


def test_runs_and_trials_have_hyperparameters_as_columns(study: Study) -> None:
    results = phasewise.load(study.path)
    runs = results.runs()
    assert runs.groupby("role").size().to_dict() == {
        "confirm": 4,
        "default": 4,
        "seed": 12,
        "trial": 6,
    }
    trials = results.trials()
    assert list(trials[trials.method == "lora"].search_score) == [0.7, 0.75, 0.72]
    assert trials[trials.method == "lora"].lora_rank.notna().all()
    assert trials[trials.method == "full_finetune"].lora_rank.isna().all()
    assert trials.learning_rate.dtype == float
    assert all(Path(record).is_file() for record in runs.record)


def test_the_verdicts_are_those_of_the_report(study: Study) -> None:
    (row,) = phasewise.load(study.path).verdicts().to_dict("records")
    assert (row["better"], row["other"], row["verdict"]) == ("lora", "full_finetune", "beats")
    assert row["difference"] == pytest.approx(0.3, abs=0.05)
    assert row["difference_interval_low"] < row["difference"] < row["difference_interval_high"]


@pytest.mark.parametrize("name", ["runs", "units", "verdicts"])
def test_the_csv_files_of_the_report_hold_the_same(study: Study, name: str) -> None:
    folder = build_report(study, study.units_of("all")).parent / "tables"
    table = getattr(phasewise.load(study.path), name)()
    written = pd.read_csv(folder / f"{name}.csv")
    assert list(written.columns) == list(table.columns)
    numbers = table.select_dtypes("number").columns
    assert len(numbers) > 3
    assert_frame_equal(written[numbers].astype(float), table[numbers].astype(float))


def test_a_study_without_runs_gives_empty_tables(write_study: Callable[..., Study]) -> None:
    results = phasewise.load(write_study().path)
    assert [len(results.runs()), len(results.trials()), len(results.verdicts())] == [0, 0, 0]
    assert set(results.units().method) == {"full_finetune", "lora"}
    with pytest.raises(ConfigError, match="vm 'vm7' is not a shard"):
        phasewise.load(write_study().path, vm="vm7")


def test_the_document_s_examples_run(study: Study) -> None:
    """All of them, in their order, but for the Snakefile."""
    shutil.copy(study.path, "my.yaml")
    Path("experiments/small/study.json").unlink(missing_ok=True)  # names study.yaml
    build_report(study, study.units_of("all"))
    record = read_runs(study, TASK, "lora", phase="phase2").records[0]
    write_experiments(
        Path("results/experiments.db"), [ExperimentRun("rank_ablation", "rank-8", record)]
    )
    blocks = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text("utf-8"), re.DOTALL)
    examples = [block for block in blocks if "module " not in block]
    assert len(examples) == 3
    names: dict[str, Any] = {}
    for block in examples:
        exec(block, names)
    assert list(names["best"].search_score) == [0.75, 0.75]
    assert names["curve"].columns.size > 1
    assert len(names["done"]) == len(names["ranks"]) == 1
    assert Path("results/experiments.json").is_file()


def test_import_and_load_take_no_pytorch(study: Study) -> None:
    code = (
        f"import sys, phasewise; assert 'pydantic' not in sys.modules; "
        f"phasewise.load({str(study.path)!r}).trials(); "
        "sys.exit(','.join({'torch', 'transformers', 'peft'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
