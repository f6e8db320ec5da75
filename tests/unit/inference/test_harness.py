"""lm-evaluation-harness: a local task through the real one where it is installed, else its lack."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from phasewise.errors import ConfigError
from phasewise.inference import harness
from phasewise.inference.evaluating import EvaluationRequest, evaluate_model
from phasewise.inference.harness import run_harness
from phasewise.inference.loading import LoadedModel, load_model, read_model_folder
from tiny_models import write_tiny_decoder


def _write_task(folder: Path) -> Path:
    """Four questions whose first choice is right; the harness has no task of that name."""
    rows = [{"question": f"{n} + 1 =", "choices": [str(n + 1), "?"], "gold": 0} for n in range(4)]
    data = folder / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    file = folder / "successor.yaml"
    file.write_text(
        "task: successor  # a name of our own\n"
        "dataset_path: json\n"
        f"dataset_kwargs: {{data_files: {{test: {data}}}}}\n"
        "output_type: multiple_choice\ntest_split: test\n"
        'doc_to_text: "{{question}}"\ndoc_to_choice: "{{choices}}"\ndoc_to_target: gold\n'
        "metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]\n"
    )
    return file


def _is_right(model: LoadedModel, n: int) -> bool:
    """Whether the model finds the right choice likelier, with nothing of the harness."""

    def likelihood(choice: str) -> float:
        ids = model.tokenizer(f"{n} + 1 = {choice}", return_tensors="pt")["input_ids"]
        with torch.inference_mode():
            steps = model.model(ids).logits[0, :-1].float().log_softmax(dim=-1)
        own = steps[torch.arange(ids.shape[1] - 1), ids[0, 1:]]
        return float(own[-len(choice) - 1 :].sum())  # a byte is a token; the blank is one

    return likelihood(str(n + 1)) > likelihood("?")


def test_a_local_task_is_scored_with_its_standard_error(tmp_path: Path) -> None:
    pytest.importorskip("lm_eval")
    model = load_model(read_model_folder(write_tiny_decoder(tmp_path / "llama")), "cpu")
    (score,) = run_harness(model, [str(_write_task(tmp_path))], limit=3, batch_size=2)
    assert (score.task, score.metric, score.rows) == ("successor", "acc", 3)
    assert score.value == pytest.approx(np.mean([_is_right(model, n) for n in range(3)]))
    assert score.standard_error is not None
    (by_name,) = run_harness(model, ["successor"], include=tmp_path, limit=3)
    assert by_name == score
    with pytest.raises(ConfigError, match="no task 'sucessor'; did you mean 'successor'"):
        run_harness(model, ["sucessor", str(tmp_path / "successor.yaml")])


def test_without_the_harness_the_extra_is_named_before_anything_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(harness, "find_spec", lambda name: None)
    request = EvaluationRequest(harness=["hellaswag"])
    with pytest.raises(ConfigError, match=r"pip install 'phasewise\[lm-eval\]'"):
        evaluate_model(tmp_path / "nothing", request, tmp_path / "evaluation.json")


def test_a_classifier_is_refused(
    trained: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(harness, "find_spec", lambda name: object())
    model = load_model(read_model_folder(trained("lora")), "cpu")
    with pytest.raises(ConfigError, match="expected a causal language model"):
        run_harness(model, ["hellaswag"])
