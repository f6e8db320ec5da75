"""A base model that is changed under its path: everything that depends on it is made anew."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed
from typer.testing import CliRunner

from phasewise.cli.app import app
from phasewise.methods.models import load_tokenizer
from phasewise.records import RunRecord
from phasewise.runs import build_data
from phasewise.settings import Study
from phasewise.tasks.data import load_task_data
from phasewise.unit_runs import read_runs
from tiny_models import write_tiny_decoder

NEW_END = "~"


@pytest.fixture
def study(
    write_study: Callable[..., Study], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Study:
    monkeypatch.setenv("PHASEWISE_CACHE", str(tmp_path / "cache"))
    write_tiny_decoder(tmp_path / "model")
    rows = [{"question": f"Where is {n}?", "response": f"At {n}."} for n in range(30)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    task: dict[str, Any] = {
        "kind": "instruction",
        "source": {"type": "files", "files": {"train": "rows.jsonl"}},
        "splits": {"report": None, "report_rows": 6},
        "prompt": {"template": "{question}"},
        "metric": "eval_loss",
        "train_rows": 8,
        "search_rows": 6,
        "max_length": 32,
    }
    return write_study(
        model={"source": "./model", "dtype": "float32"},
        tasks={"places": task},
        methods={"lora": {"defaults": {"epochs": 1, "target_modules": "all"}}},
    )


def _train(study: Study) -> list[RunRecord]:
    """Runs Phase 0; returns its records that belong to the model as it is now."""
    arguments = ["defaults", "--study", str(study.path), "--task", "places", "--method", "lora"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, f"{done.output}\n{done.exception!r}"
    return read_runs(study, "places", "lora", phase="phase0").records


def _last_token(study: Study) -> int:
    """Returns the end of the first train row as the study's data are tokenized now."""
    data = load_task_data(
        build_data(study, "places"), load_tokenizer(study.settings.model), subset_seed=0
    )
    return int(data.train[0]["input_ids"][-1])


def _change_model(folder: Path) -> int:
    """Writes other weights and another end token in place; returns that token."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.eos_token = NEW_END
    tokenizer.save_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    set_seed(7)
    for weight in model.parameters():
        weight.data += 0.05 * weight.data.new_empty(weight.shape).normal_()
    model.config.eos_token_id = model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.save_pretrained(folder)
    return int(tokenizer.eos_token_id)


def test_a_model_changed_in_place_is_trained_again_on_rows_tokenized_anew(
    study: Study, tmp_path: Path
) -> None:
    first, end = _train(study), _last_token(study)
    again = _train(study)
    assert again == first, "nothing has changed: nothing is trained"
    new_end = _change_model(tmp_path / "model")
    assert new_end != end
    second = _train(study)
    assert len(second) == len(first) == 2
    assert not {record.hash for record in first} & {record.hash for record in second}
    for old, new in zip(first, second, strict=True):
        assert new.started >= old.ended
        assert new.search_metrics["eval_loss"] != old.search_metrics["eval_loss"]
    assert _last_token(study) == new_end
