"""Responses end at the tokenizer's end token, and at each one that the model's settings name."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from final_study import read_csv, write_csv
from transformers import AutoModelForCausalLM, AutoTokenizer

from phasewise.inference.evaluating import EvaluationRequest, evaluate_model
from phasewise.inference.predicting import predict_file
from tiny_models import write_tiny_decoder

_PROMPTS = ["why?", "how are you", "what a day, is it not"]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A decoder whose settings name a second end token: the first that it writes to "why?"."""
    folder = write_tiny_decoder(tmp_path / "base")
    first = _generate(folder, _PROMPTS[0])[0]
    assert first != 0
    _name_ends(folder, [0, first])
    return folder


def _name_ends(folder: Path, ends: Any) -> None:
    file = folder / "generation_config.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({**content, "eos_token_id": ends}), encoding="utf-8")


def _generate(folder: Path, prompt: str) -> list[int]:
    """Returns what transformers writes with the settings that the folder has."""
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    ids = AutoTokenizer.from_pretrained(folder)(prompt, return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        said = model.generate(ids, do_sample=False, max_new_tokens=20, pad_token_id=0)
    return [int(token) for token in said[0, ids.shape[1] :]]


def test_a_prompt_suite_stops_where_transformers_does(base: Path, tmp_path: Path) -> None:
    suite = tmp_path / "suite.yaml"
    prompts = [{"name": f"p{n}", "category": "c", "prompt": p} for n, p in enumerate(_PROMPTS)]
    suite.write_text(json.dumps({"max_new_tokens": 20, "prompts": prompts}), encoding="utf-8")
    request = EvaluationRequest(suite=suite, device="cpu")
    answers = evaluate_model(base, request, tmp_path / "evaluation.json").prompts
    expected = [_generate(base, prompt) for prompt in _PROMPTS]
    assert [answer.new_tokens for answer in answers] == list(map(len, expected))
    assert answers[0].new_tokens == 1
    assert answers[0].answer == ""  # an end token is no part of an answer


def test_responses_in_a_batch_stop_where_transformers_does(base: Path, tmp_path: Path) -> None:
    source = write_csv(tmp_path / "ask.csv", ("q",), [(prompt,) for prompt in _PROMPTS])
    output = tmp_path / "out.csv"
    predict_file(
        [base], source, output, text=["q"], max_new_tokens=20, device="cpu", say=lambda line: None
    )
    ends = json.loads((base / "generation_config.json").read_text())["eos_token_id"]
    tokenizer, expected = AutoTokenizer.from_pretrained(base), []
    for prompt in _PROMPTS:
        said = _generate(base, prompt)
        said = said[:-1] if said[-1] in ends else said
        expected.append(tokenizer.decode(said, skip_special_tokens=True).strip())
    assert [row[1] for row in read_csv(output)[1:]] == expected
    assert expected[0] == ""


def test_the_tokenizers_own_end_counts_where_the_settings_name_another(tmp_path: Path) -> None:
    from phasewise.methods.base_config import cut_at_end, find_end_tokens

    folder = write_tiny_decoder(tmp_path)
    _name_ends(folder, 69)
    model = AutoModelForCausalLM.from_pretrained(folder)
    ends = find_end_tokens(model, AutoTokenizer.from_pretrained(folder))
    assert ends == [0, 69]
    assert cut_at_end([5, 69, 7, 0], ends) == [5]
    assert cut_at_end([5, 7], ends) == [5, 7]
