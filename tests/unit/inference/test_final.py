"""Final models: what is trained on what, what lies in the folder, and that strangers load it."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from final_study import LORA, write_found

from phasewise.errors import ConfigError
from phasewise.inference.final import train_final
from phasewise.inference.loading import load_model, read_model_folder
from phasewise.records import read_record
from phasewise.runs import UnitPaths
from phasewise.settings import Study
from synthetic import UnitWriter

_IDS = torch.tensor([[101, 2008, 2003, 102]])


def test_all_data_are_trained_on_but_the_report_set_stays_closed(
    trained: Callable[[str], Path], topics: Study
) -> None:
    record = read_record(trained("lora"))
    assert record is not None
    assert record.config.phase == "final"
    assert record.config.unit_config.data.all_data
    assert record.evaluations[-1].step == 12  # 90 of 120 rows by 8
    assert not record.report_metrics
    assert not UnitPaths(topics, "topics", "lora").ledger.exists()
    assert "host" not in record.environment


def test_without_all_data_the_search_set_is_held_out(topics: Study, tmp_path: Path) -> None:
    (folder,) = train_final(topics, write_found(topics, "lora"), tmp_path / "model")
    record = read_record(folder)
    assert record is not None
    assert record.evaluations[-1].step == 3  # 24 rows by 8
    assert "search set was held out" in (folder / "README.md").read_text("utf-8")


def test_seeds_train_different_models_once(topics: Study, tmp_path: Path) -> None:
    said: list[str] = []
    optimum = write_found(topics, "lora")
    folders = train_final(topics, optimum, tmp_path / "many", seeds=2, say=said.append)
    assert [folder.name for folder in folders] == ["seed-00", "seed-01"]
    weights = [(folder / "adapter_model.safetensors").read_bytes() for folder in folders]
    assert weights[0] != weights[1]
    said.clear()
    assert train_final(topics, optimum, tmp_path / "many", seeds=2, say=said.append) == folders
    assert said == [f"{folder}: trained already" for folder in folders]
    assert not list(tmp_path.glob("**/.*.training"))


def _logits(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        logits: torch.Tensor = model.eval()(input_ids=_IDS).logits
    return logits


@pytest.mark.parametrize("method", ["full_finetune", "lora", "dora", "rslora", "qlora"])
def test_the_cards_own_code_loads_the_model(
    trained: Callable[[str], Path], method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = trained(method)
    monkeypatch.chdir(folder)
    (code,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text("utf-8"), re.S)
    names: dict[str, Any] = {}
    exec(code, names)
    model = names["model"]
    assert model.config.id2label == {0: "sport", 1: "film", 2: "letter"}
    ours = load_model(read_model_folder(folder), "cpu").model
    torch.testing.assert_close(_logits(model).float(), _logits(ours), atol=2e-3, rtol=0)


def test_the_card_tells_scores_with_intervals_and_leaves_the_license_open(
    topics: Study, tmp_path: Path
) -> None:
    UnitWriter(topics, "topics", "lora").phase2([0.70, 0.72, 0.74])
    (folder,) = train_final(topics, write_found(topics, "lora"), tmp_path / "model", all_data=True)
    text = (folder / "README.md").read_text("utf-8")
    _, head, body = text.split("---\n", 2)
    metadata = yaml.safe_load(head)
    assert metadata["library_name"] == "peft"
    assert "license" not in metadata
    assert "# license:" in head
    # Student's t over 3 seeds on the logit scale: logit(.72) -+ 4.303 * .02 / sqrt(3) / (.72 * .28)
    assert "**0.7200** (95 % interval 0.6677 to 0.7669)" in body
    assert "0.7900 (standard error 0.0100); the method's published default 0.7000" in body
    assert "| learning_rate | 0.005 |" in body
    assert "90 rows: all data of the task but its report set" in body
    assert json.loads((folder / "labels.json").read_text())["id2label"]["2"] == "letter"


def test_a_larger_train_set_than_the_searchs_is_warned_of(topics: Study, tmp_path: Path) -> None:
    said: list[str] = []
    optimum = write_found(topics, "full_finetune")
    train_final(topics, optimum, tmp_path / "model", all_data=True, say=said.append)
    assert "90 rows are 3.8 times the search's 24" in said[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"final": False}, "final: false"),
        ({"study_name": "other_topics_lora"}, "expected small_topics_lora, got other_topics_lora"),
        ({"best_hyperparameters": {**LORA, "epochs": -1}}, "best_hyperparameters.epochs"),
    ],
)
def test_an_optimum_that_does_not_fit_is_refused(
    topics: Study, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    optimum = write_found(topics, "lora", **changes)
    with pytest.raises(Exception, match=message):
        train_final(topics, optimum, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_folder_with_something_else_is_not_touched(topics: Study, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="holds something else"):
        train_final(topics, write_found(topics, "lora"), tmp_path)
    with pytest.raises(ConfigError, match="no such file"):
        train_final(topics, tmp_path / "none.yaml", tmp_path / "model")


def _scores(said: list[str]) -> list[float]:
    """Returns the last score that each training told."""
    found: list[list[float]] = []
    for line in said:
        if " starts on " in line:
            found.append([])
        elif told := re.search(r"accuracy ([\d.]+) on", line):
            found[-1].append(float(told[1]))
    return [each[-1] for each in found]


def test_a_model_that_falls_behind_its_settings_is_trained_again_and_the_best_kept(
    topics: Study, tmp_path: Path
) -> None:
    """No seed reaches an accuracy of 1 in three steps; a seed that the search saw is not drawn."""
    said: list[str] = []
    optimum = write_found(topics, "lora", confirmed_value=1.0)
    (folder,) = train_final(topics, optimum, tmp_path / "model", say=said.append)
    assert sum("starts on" in line for line in said) == 3
    assert any("below the 1.000 that its settings reached in the search" in line for line in said)
    record = read_record(folder)
    assert record is not None
    assert record.search_score == pytest.approx(max(_scores(said)), abs=5e-4)
    assert [path.name for path in tmp_path.iterdir() if "model" in path.name] == ["model"]
    assert train_final(topics, optimum, tmp_path / "model", say=said.append) == [folder]
    assert said[-1] == f"{folder}: trained already"


def test_a_model_that_keeps_up_is_trained_once(topics: Study, tmp_path: Path) -> None:
    said: list[str] = []
    optimum = write_found(topics, "lora", confirmed_value=0.01)
    train_final(topics, optimum, tmp_path / "model", say=said.append)
    assert sum("starts on" in line for line in said) == 1
