"""Evaluation: scores equal to sums by hand, speed and perplexity measured, bad requests refused."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from final_study import TOPICS, read_csv, write_csv
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner

from phasewise.cli.app import app
from phasewise.errors import ConfigError, DataError
from phasewise.inference.evaluating import Evaluation, EvaluationRequest, evaluate_model
from phasewise.inference.predicting import predict_file
from phasewise.methods.adapt import save_model
from phasewise.runs import UnitPaths
from phasewise.settings import Study
from phasewise.tasks.ledger import read_ledger
from phasewise.tasks.predictions import read_predictions
from tiny_models import DECODER_VOCABULARY, write_tiny_decoder

_LABELS = ["sport", "film", "letter"]


@pytest.fixture(scope="module")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_decoder(tmp_path_factory.mktemp("tiny") / "llama")


@pytest.fixture
def labeled(tmp_path: Path) -> Path:
    rows = [(f"{TOPICS[i % 3]} number {i}", _LABELS[(i * 2) % 3]) for i in range(12)]
    return write_csv(tmp_path / "dev.csv", ("text", "label"), rows)


def _evaluate(folder: Path, tmp_path: Path, **request: Any) -> Evaluation:
    request = {"device": "cpu", "batch_size": 4, **request}
    return evaluate_model(folder, EvaluationRequest(**request), tmp_path / "evaluation.json")


def test_scores_of_a_file_are_those_of_its_predictions(
    trained: Callable[[str], Path], labeled: Path, tmp_path: Path
) -> None:
    folder = trained("lora")
    result = _evaluate(
        folder, tmp_path, source=labeled, profile=True, predictions=tmp_path / "said.jsonl"
    )
    options = {"device": "cpu", "say": lambda line: None, "probabilities_only": True}
    predict_file([folder], labeled, tmp_path / "out.csv", **options)
    said = np.array([row[1:] for row in read_csv(tmp_path / "out.csv")[1:]], dtype=float)
    gold = np.array([_LABELS.index(row[1]) for row in read_csv(labeled)[1:]])
    right = said.argmax(axis=1) == gold
    assert result.scores is not None
    assert result.scores.metrics["accuracy"] == pytest.approx(right.mean())
    loss = -np.log(said[np.arange(12), gold]).mean()
    assert result.scores.metrics["eval_loss"] == pytest.approx(loss, abs=1e-5)
    error = math.sqrt(right.mean() * (1 - right.mean()) / 11)
    assert result.scores.standard_errors["accuracy"] == pytest.approx(error)
    assert [each.correct for each in read_predictions(tmp_path / "said.jsonl")] == right.tolist()
    written = json.loads((tmp_path / "evaluation.json").read_text())
    assert written["scores"]["metrics"] == result.scores.metrics
    assert "host" not in written["environment"]
    profile = result.profile
    assert profile is not None
    assert (profile.rows, profile.batch_size, profile.latency_rows) == (12, 4, 12)
    assert 0 < profile.latency_p50_ms <= profile.latency_p95_ms
    assert profile.tokens_per_second == pytest.approx(
        profile.rows_per_second * profile.tokens / profile.rows
    )


def test_the_report_set_is_scored_through_the_ledger(
    trained: Callable[[str], Path], topics: Study, tmp_path: Path
) -> None:
    ledger = UnitPaths(topics, "topics", "lora").ledger
    before = len(read_ledger(ledger))
    result = _evaluate(trained("lora"), tmp_path, study=topics, task="topics")
    assert result.scores is not None
    assert (result.scores.name, result.scores.rows) == ("report set of topics", 30)
    (entry,) = read_ledger(ledger)[before:]
    assert entry["reason"] == "phasewise evaluate"
    assert entry["run"] == str(trained("lora"))


def test_a_label_that_the_task_lacks_is_refused_by_line(
    trained: Callable[[str], Path], tmp_path: Path
) -> None:
    source = write_csv(tmp_path / "dev.csv", ("text", "label"), [("a", "film"), ("b", "opera")])
    with pytest.raises(DataError, match=r"line 3: column 'label'.*got 'opera'"):
        _evaluate(trained("lora"), tmp_path, source=source)
    assert not (tmp_path / "evaluation.json").exists()


def test_a_file_without_a_class_is_scored_over_those_it_has(
    trained: Callable[[str], Path], tmp_path: Path
) -> None:
    rows = [(f"{TOPICS[i % 2]} number {i}", _LABELS[i % 2]) for i in range(8)]
    source = write_csv(tmp_path / "dev.csv", ("text", "label"), rows)
    scores = _evaluate(trained("lora"), tmp_path, source=source).scores
    assert scores is not None
    told = "class 'letter': macro scores average over the 2 of 3 classes that it has"
    assert scores.notes == (f"{source} has no example of {told}",)


def test_profiling_a_causal_model_times_its_answers_too(tiny_llama: Path, tmp_path: Path) -> None:
    suite = tmp_path / "suite.yaml"
    suite.write_text("max_new_tokens: 3\nprompts: [{name: a, category: b, prompt: hi}]\n")
    source = write_csv(tmp_path / "texts.csv", ("body",), [("hello, world",), ("Grüße",)])
    result = _evaluate(
        tiny_llama, tmp_path, source=source, text=["body"], profile=True, suite=suite
    )
    assert result.perplexity is not None
    assert result.perplexity.perplexity == pytest.approx(DECODER_VOCABULARY, rel=0.2)  # random
    assert result.profile is not None
    assert result.profile.rows == 2
    assert result.generation is not None
    assert result.generation.new_tokens <= 3
    assert result.generation.tokens_per_second > 0


def _call(*words: object) -> dict[str, Any]:
    """Runs the command; returns what it wrote to the last argument."""
    done = CliRunner().invoke(app, ["evaluate", *map(str, words), "--device", "cpu"])
    assert done.exit_code == 0, f"{done.output}\n{done.exception!r}"
    result: dict[str, Any] = json.loads(Path(str(words[-1])).read_text())
    return result


def test_a_base_model_is_evaluated_as_it_is_and_under_an_adapter(
    tiny_llama: Path, tmp_path: Path
) -> None:
    texts = write_csv(tmp_path / "texts.csv", ("text",), [("hello, world",), ("Grüße",)])
    here = tmp_path / "base"
    shutil.copytree(tiny_llama, here)
    config = LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM")
    adapted = get_peft_model(AutoModelForCausalLM.from_pretrained(here), config)
    torch.nn.init.normal_(next(p for n, p in adapted.named_parameters() if "lora_B" in n))
    save_model(adapted, tmp_path / "adapter")
    shutil.rmtree(here)  # as on another machine
    score = ["--dataset", texts, "--text", "text", "--output", tmp_path / "result.json"]
    bare = _call("--base-model", tiny_llama, *score)
    both = _call("--checkpoint", tmp_path / "adapter", "--base-model", tiny_llama, *score)
    assert bare["model"] == both["base_model"] == str(tiny_llama)
    assert bare["base_model"] is None
    expected = _evaluate(tiny_llama, tmp_path, source=texts, text=["text"]).perplexity
    assert expected is not None
    assert bare["perplexity"]["perplexity"] == pytest.approx(expected.perplexity)
    assert both["perplexity"]["perplexity"] != pytest.approx(expected.perplexity, rel=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--profile-inference"], "--output FILE: without --model"),
        (["--profile-inference", "--output", "a.json"], "expected --model DIR, or --base-model"),
        (
            ["--profile-inference", "--model", "{llama}", "--base-model", "x"],
            "holds a whole model, which stands on no base",
        ),
        (
            ["--profile-inference", "--base-model", "./nowhere", "--output", "a.json"],
            "no folder ./nowhere",
        ),
    ],
)
def test_models_that_cannot_be_told_are_refused(
    tiny_llama: Path, arguments: list[str], message: str
) -> None:
    words = [word.format(llama=tiny_llama) for word in arguments]
    done = CliRunner().invoke(app, ["evaluate", *words])
    assert isinstance(done.exception, ConfigError)
    assert message in str(done.exception)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to evaluate"),
        (["--task", "topics", "--input", "dev.csv"], "expected --task or --input, got both"),
        (["--benchmark-only", "--input", "dev.csv"], "--benchmark-only runs the prompt suite"),
        (["--benchmark-only"], "needs a causal language model"),
        (["--task", "topic", "--study", "study.yaml"], "no task 'topic'; did you mean 'topics'"),
    ],
)
def test_requests_that_make_no_sense_are_refused(
    trained: Callable[[str], Path], arguments: list[str], message: str
) -> None:
    done = CliRunner().invoke(app, ["evaluate", "--model", str(trained("lora")), *arguments])
    assert isinstance(done.exception, ConfigError)
    assert message in str(done.exception)


def test_the_command_prints_tables_and_names_the_file(
    trained: Callable[[str], Path], labeled: Path, tmp_path: Path
) -> None:
    output = tmp_path / "result.json"
    where = ["--model", str(trained("lora")), "--input", str(labeled), "--output", str(output)]
    done = CliRunner().invoke(app, ["evaluate", *where, "--profile-inference", "--device", "cpu"])
    assert done.exit_code == 0, done.output
    assert "accuracy" in done.output
    assert "tokens_per_second" in done.output
    assert output.is_file()
