"""A tiny random Llama on a tiny JSONL: baselines, search, validation and report, for a loss."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from phasewise.records import iterate_records
from phasewise.report import build_report
from phasewise.runs import UnitPaths, task_baselines_path
from phasewise.settings import Study
from phasewise.summaries import read_optimum, read_phase_summary, read_task_baselines
from phasewise.training.baselines import write_task_baselines
from phasewise.tuning.phases import run_defaults, validate_unit
from phasewise.tuning.search import search_unit
from tiny_models import write_tiny_decoder

TASK, METHOD = "answers", "lora"


@pytest.fixture
def study(
    write_study: Callable[..., Study], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Study:
    monkeypatch.setenv("PHASEWISE_CACHE", str(tmp_path / "cache"))
    write_tiny_decoder(tmp_path / "llama")
    rows = [{"question": f"{n} + {n}?", "answer": f"#### {2 * n}"} for n in range(60)]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "train.jsonl").write_text(text, encoding="utf-8")
    answers = {
        "kind": "instruction",
        "source": {"type": "files", "files": {"train": "train.jsonl"}},
        "splits": {"report": None, "report_rows": 12},
        "prompt": {"template": "{question} ", "chat": "chatml"},
        "response": "answer",
        "packing": True,
        "metric": "eval_loss",
        "generation": {"max_new_tokens": 6, "report_metrics": ["exact_answer"]},
        "max_length": 96,
        "train_rows": 24,
        "search_rows": 12,
    }
    return write_study(
        model={"source": str(tmp_path / "llama"), "dtype": "float32"},
        tasks={TASK: answers},
        methods={METHOD: {}},
        search={"trials": 3, "space": "llm", "confirm_top": 1},
        validation={"seeds": 2},
    )


def test_a_study_of_a_loss_goes_from_baseline_to_report(study: Study) -> None:
    write_task_baselines(study, TASK)
    run_defaults(study, TASK, METHOD)
    search_unit(study, TASK, METHOD)
    validate_unit(study, TASK, METHOD)
    paths = UnitPaths(study, TASK, METHOD)

    baselines = read_task_baselines(task_baselines_path(study, TASK))
    assert baselines is not None
    untuned = {each.name: each.report_score for each in baselines.baselines}["zero_shot"]
    optimum = read_optimum(paths.optimum)
    assert optimum is not None
    assert optimum.direction == "minimize"
    trials = [r for _, r in iterate_records(paths.root / "phase1") if r.config.name[0] == "t"]
    assert optimum.best_value == min(r.search_score for r in trials if r.status == "finished")
    validated = read_phase_summary(paths.summary("phase2"))
    assert validated is not None
    assert validated.report.mean is not None
    assert untuned is not None
    assert validated.report.mean < untuned
    text = (build_report(study, study.units_of("all")).parent / "RESULTS.md").read_text("utf-8")
    assert "eval_loss" in text
    assert "zero-shot" in text
    assert "best-worst gap above 5 % of the default's eval_loss" in text
    assert f"strongest cheap baseline, zero-shot ({untuned:.2f})" in text
    assert f"gains +{untuned - validated.report.mean:.3f} [" in text
    assert "the best was trained again with 2 fresh seeds" in text
