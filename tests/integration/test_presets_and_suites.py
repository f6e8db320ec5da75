"""For real: a preset and a suite from the command line, real workers.

Every documented output file is read back and held against the others.
"""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from peft import PeftModel
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner

from phasewise.cli.app import app
from phasewise.recipes.suites import experiments
from phasewise.settings import load_study
from phasewise.summaries import read_optimum
from tiny_models import write_tiny_bert, write_tiny_decoder

ROWS = {"train_rows": 24, "search_rows": 16, "splits": {"report": None, "report_rows": 8}}
Call = Callable[..., str]


@pytest.fixture(scope="module")
def call(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Runs a command in a folder of its own, with its own cache; returns what it printed."""
    folder = tmp_path_factory.mktemp("systems")

    def run(*words: object) -> str:
        done = CliRunner().invoke(app, [str(word) for word in words])
        assert done.exit_code == 0, f"{done.output}\n{done.exception!r}"
        return done.output

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("PHASEWISE_CACHE", str(folder / "cache"))
        yield run


def _write_study(name: str, model: Path, task: dict[str, Any], rows: list[dict[str, Any]]) -> Path:
    folder = Path(name)
    folder.mkdir()
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / "rows.jsonl").write_text(text, encoding="utf-8")
    source = {"type": "files", "files": {"train": "rows.jsonl"}}
    content = {
        "name": name,
        "model": {"source": str(model.resolve()), "dtype": "float32"},
        "tasks": {name: {"source": source, "max_length": 32, **ROWS, **task}},
        "methods": {"lora": {}},
        "baselines": {"seeds": 2},
        "search": {"confirm_top": 1},
        "machine": {"device": "cpu"},
        "tracking": {"wandb": False},
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return folder / "study.yaml"


def _read_json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def test_a_preset_leaves_what_the_subset_document_names(call: Call) -> None:
    labels = ["calm", "glad", "sad"]
    rows = [{"text": f"{labels[i % 3]}, no. {i}", "label": labels[i % 3]} for i in range(60)]
    task = {"kind": "classification", "text": ["text"], "labels": labels, "metric": "accuracy"}
    study = _write_study("feelings", write_tiny_bert(Path("bert")), task, rows)
    out = Path("subset_optimization_results")
    words = [
        "--study",
        study,
        "--trials",
        3,
        "--fixed",
        "epochs=1",
        "--fixed",
        "learning_rate=1e-3",
    ]
    said = call("preset", "quick", *words, "--optimize-modules")

    results = out / "final_results"
    best = _read_json(results / "best_config.json")
    summary = _read_json(results / "study_summary.json")
    modules = _read_json(results / "module_analysis.json")
    space = _read_json(results / "search_space_analysis.json")
    assert summary["S"] == pytest.approx(summary["S_improved"] - summary["S_baseline"])
    assert f"S = {summary['S']:+.4f} accuracy" in said
    assert summary["trials"] == 3
    assert best["training"]["learning_rate"] == 1e-3
    assert best["lora"]["target_modules"] == modules["recommended_modules"]
    parts = {"q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "down_proj"}
    assert set(modules["module_average_scores"]) == set(modules["module_effects"]) == parts
    for each in modules["module_effects"].values():
        low, high = each["interval_95"]
        assert low <= each["effect"] <= high
    assert len(space["documented_parameters"]) == 5
    assert sum(space["parameters"]["lora_alpha"]["drawn"].values()) == 3
    storage = f"sqlite:///{out / 'optimization.db'}"
    names = optuna.get_all_study_names(storage)
    assert sorted(names) == ["quick_feelings_dora", "quick_modules_feelings_dora"]
    design = optuna.load_study(study_name="quick_modules_feelings_dora", storage=storage)
    assert len(design.trials) == modules["design"]["configurations"]
    stored = optuna.load_study(study_name="quick_feelings_dora", storage=storage)
    assert [trial.state.name for trial in stored.trials] == ["COMPLETE"] * 3
    assert stored.best_value == pytest.approx(summary["best_value"])
    logs = {file.name for file in (out / "logs").iterdir()}
    assert {"feelings_dora.log", "modules_feelings_dora.log"} <= logs
    assert "trial" in (out / "logs" / "feelings_dora.log").read_text()
    assert not list(out.rglob("*.safetensors")), "checkpoints are cleaned up"


def test_a_suite_leaves_what_the_efficiency_study_names(call: Call) -> None:
    rows = [{"ask": f"{n} + 1 =", "answer": f"{n + 1} ✓"} for n in range(60)]
    task = {
        "kind": "instruction",
        "prompt": {"template": "{ask}"},
        "response": "answer",
        "metric": "eval_loss",
    }
    study = _write_study("sums", write_tiny_decoder(Path("llama")), task, rows)
    kept = ["--experiment", "r4", "--experiment", "r16"]
    words = ["--study", study, *kept, "--fixed", "epochs=1", "--final-models"]
    said = call("ablate", "rank_sweep", *words)

    out = Path("results")
    assert str(out / "RESULTS.md") in said
    text = (out / "RESULTS.md").read_text(encoding="utf-8")
    assert "r4 - r16: " in text
    assert "eval_loss" in text
    plots = {file.stem for file in (out / "plots" / "rank_sweep").glob("*.png")}
    shown = {"efficiency_frontier"} if "followed the order" not in text else set()
    assert plots == shown | {
        "rank_comparison",
        "training_time",
        "adapter_size",
        "parameters",
    }
    with sqlite3.connect(out / "experiments.db") as database:
        (count,) = database.execute("SELECT count(*) FROM experiments").fetchone()
    tracker = experiments.ExperimentTracker(out / "experiments.db")
    done = tracker.get_all_experiments(status="completed")
    assert len(done) == count == 6  # 2 ranks on 3 seeds
    assert tracker.get_experiments_by_type("rank_ablation") == done
    tracker.export_to_json(out / "experiments.json")
    assert len(json.loads((out / "experiments.json").read_text())) == 6
    by_rank = {name: [e for e in done if e["experiment_name"] == name] for name in ("r4", "r16")}
    weights = {name: {e["trainable_parameters"] for e in runs} for name, runs in by_rank.items()}
    assert weights["r16"] == {4 * next(iter(weights["r4"]))}
    assert all(e["peak_memory_mb"] > 0 and e["adapter_bytes"] > 0 for e in done)
    assert len({e["score"] for e in by_rank["r4"]}) == 3, "each seed scores for itself"
    for name, rank in (("r4", 4), ("r16", 16)):
        folder = out / "output" / f"rank_ablation_{name}" / "final_model"
        assert str(folder) in said
        adapter = PeftModel.from_pretrained(
            AutoModelForCausalLM.from_pretrained("llama"), folder
        ).peft_config["default"]
        assert (adapter.r, adapter.lora_alpha) == (rank, 2 * rank)
        own = read_optimum(folder.parent / "optimal.yaml")
        assert own is not None
        trial = next(e for e in by_rank[name] if e["run"].startswith("trial"))
        assert own.best_value == trial["score"]
    assert (
        load_study(out / "suites" / "rank_sweep" / "study.yaml").settings.training.engine
        == "trainer"
    )
