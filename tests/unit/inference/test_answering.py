"""Decoders and question answering models on files: what they write, and how it is scored."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from final_study import LORA, read_csv, write_csv, write_found, write_study_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

from phasewise.cli.app import app
from phasewise.errors import ConfigError, DataError
from phasewise.inference.evaluating import Evaluation, EvaluationRequest, evaluate_model
from phasewise.inference.final import train_final
from phasewise.inference.merging import merge_adapter
from phasewise.inference.predicting import predict_file
from phasewise.records import read_record, write_record
from phasewise.runs import UnitPaths
from phasewise.settings import Study
from phasewise.tasks.ledger import read_ledger
from phasewise.tasks.predictions import read_predictions
from phasewise.tasks.response_rules import score_rouge_l
from tiny_models import write_tiny_decoder

_TASK = {
    "kind": "instruction",
    "source": {"type": "files", "files": {"train": "answers.jsonl"}},
    "splits": {"report": None, "report_rows": 8},
    "prompt": {"template": "Answer {question}"},
    "response": "answer",
    "metric": "eval_loss",
    "generation": {"max_new_tokens": 6, "report_metrics": ["rouge_l"]},
    "train_rows": 24,
    "search_rows": 8,
    "max_length": 48,
}
#: Of different lengths, so that batches sorted by length are out of the file's order.
_QUESTIONS = ["why?", 'a "quoted", long question\nof two lines', "Zürich 🚀", "x" * 70]


def _write_rows(path: Path, numbers: range) -> Path:
    rows = [{"question": f"{n} plus {n}", "answer": f"{2 * n}!"} for n in numbers]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def answers(workplace: Path) -> Study:
    model = write_tiny_decoder(workplace / "llama")
    _write_rows(workplace / "answers.jsonl", range(60))
    return write_study_file(workplace / "answers.yaml", model, {"answers": _TASK})


@pytest.fixture(scope="module")
def decoder(answers: Study, workplace: Path) -> Path:
    """An adapter that was trained on the task."""
    gentle = {**LORA, "learning_rate": 1e-3}  # so that responses still differ
    optimum = write_found(
        answers, "lora", metric="eval_loss", direction="minimize", best_hyperparameters=gentle
    )
    (folder,) = train_final(answers, optimum, workplace / "adapter", say=lambda line: None)
    return folder


@pytest.fixture(scope="module")
def merged(decoder: Path, workplace: Path) -> Path:
    return merge_adapter(decoder, workplace / "merged", device="cpu").folder


def _evaluate(folder: Path, output: Path, **request: Any) -> Evaluation:
    asked = EvaluationRequest(**{"device": "cpu", "batch_size": 3, **request})
    return evaluate_model(folder, asked, output / "evaluation.json")


def _write_alone(folder: Path, prompt: str, length: int, new_tokens: int) -> str:
    """One prompt at a time, with nothing but transformers."""
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer(prompt, return_tensors="pt")["input_ids"][:, -length:]
    with torch.inference_mode():
        said = model.generate(ids, do_sample=False, max_new_tokens=new_tokens, pad_token_id=0)
    return str(tokenizer.decode(said[0, ids.shape[1] :], skip_special_tokens=True)).strip()


def test_responses_in_the_files_order_with_its_ids(merged: Path, tmp_path: Path) -> None:
    source = write_csv(tmp_path / "ask.csv", ("id", "question"), list(enumerate(_QUESTIONS)))
    report = predict_file(
        [merged], source, tmp_path / "out.csv", batch_size=3, device="cpu", say=lambda line: None
    )
    rows = read_csv(tmp_path / "out.csv")
    assert rows[0] == ["id", "prediction"]
    assert [row[0] for row in rows[1:]] == ["0", "1", "2", "3"]
    # All of max_length but the place of an end token is the prompt's.
    expected = [_write_alone(merged, f"Answer {q}", 47, 6) for q in _QUESTIONS]
    assert [row[1] for row in rows[1:]] == expected
    assert len(set(expected)) > 1, "the prompts must be told apart for the order to count"
    assert report.truncated == 1


def test_adapter_and_merged_model_write_the_same(
    decoder: Path, merged: Path, tmp_path: Path
) -> None:
    source = write_csv(tmp_path / "ask.csv", ("question",), [(q,) for q in _QUESTIONS])
    for folder in (decoder, merged):
        words = ["--model", folder, "--input", source, "--output", tmp_path / f"{folder.name}.csv"]
        done = CliRunner().invoke(
            app, ["predict", *map(str, words), "--max-new-tokens", "3", "--device", "cpu"]
        )
        assert done.exit_code == 0, done.output
    said = [read_csv(tmp_path / f"{folder.name}.csv") for folder in (decoder, merged)]
    assert said[0] == said[1]
    assert max(len(row[1]) for row in said[0][1:]) <= 3  # a byte is a token


def test_scores_of_a_file_are_those_of_the_study(merged: Path, tmp_path: Path) -> None:
    source = _write_rows(tmp_path / "dev.jsonl", range(70, 77))
    result = _evaluate(merged, tmp_path, source=source, predictions=tmp_path / "said.jsonl")
    assert result.scores is not None
    model = AutoModelForCausalLM.from_pretrained(merged).eval()
    tokenizer = AutoTokenizer.from_pretrained(merged)
    losses, tokens = [], []
    for n in range(70, 77):
        prompt = tokenizer(f"Answer {n} plus {n}")["input_ids"]
        answer = [*tokenizer(f"{2 * n}!")["input_ids"], tokenizer.eos_token_id]
        ids = torch.tensor([prompt + answer])
        labels = ids.clone()
        labels[0, : len(prompt)] = -100
        with torch.inference_mode():
            losses.append(float(model(ids, labels=labels).loss) * len(answer))
        tokens.append(len(answer))
    loss = sum(losses) / sum(tokens)
    assert result.scores.metrics["eval_loss"] == pytest.approx(loss, rel=1e-5)
    assert result.scores.metrics["perplexity"] == pytest.approx(math.exp(loss), rel=1e-4)
    spread = np.std(np.array(losses) - loss * np.array(tokens), ddof=1) / np.mean(tokens)
    assert result.scores.standard_errors["eval_loss"] == pytest.approx(spread / 7**0.5, rel=1e-3)
    said = read_predictions(tmp_path / "said.jsonl")
    overlap = [score_rouge_l(each.prediction, each.gold[0]) for each in said]
    assert result.scores.metrics["rouge_l"] == pytest.approx(np.mean(overlap))
    assert [each.prediction for each in said] == [
        _write_alone(merged, f"Answer {n} plus {n}", 48, 6) for n in range(70, 77)
    ]


def test_report_set_of_responses_is_scored_through_the_ledger(
    decoder: Path, answers: Study, tmp_path: Path
) -> None:
    ledger = UnitPaths(answers, "answers", "lora").ledger
    before = len(read_ledger(ledger))
    result = _evaluate(decoder, tmp_path, study=answers, task="answers", profile=True)
    assert result.scores is not None
    assert (result.scores.rows, len(read_ledger(ledger)) - before) == (8, 1)
    assert set(result.scores.metrics) == {"eval_loss", "eval_accuracy", "perplexity", "rouge_l"}
    assert result.profile is not None
    assert result.profile.rows == 8


def test_a_decoder_from_elsewhere_answers_named_columns(answers: Study, tmp_path: Path) -> None:
    folder = Path(answers.settings.model.source)
    source = write_csv(tmp_path / "ask.csv", ("title", "body"), [("Hi, all", "you\nthere")])
    options: dict[str, Any] = {"device": "cpu", "max_new_tokens": 4, "say": lambda line: None}
    with pytest.raises(ConfigError, match="--text COLUMN"):
        predict_file([folder], source, tmp_path / "out.csv", **options)
    names = ["title", "body"]
    options |= {"text": names, "max_length": 64}
    predict_file([folder], source, tmp_path / "out.csv", **options)
    expected = _write_alone(folder, "Hi, all\n\nyou\nthere", 64, 4)
    assert read_csv(tmp_path / "out.csv")[1] == ["0", expected]


@pytest.mark.parametrize(
    ("header", "options", "message"),
    [
        (("question",), {"text": ["question"]}, r"template \(question\); rename the file's"),
        (("question",), {"many": True}, "only classifiers can be averaged"),
        (("questions",), {}, "no column 'question'; did you mean 'questions'"),
    ],
)
def test_what_a_decoder_cannot_do_is_refused(
    decoder: Path, tmp_path: Path, header: tuple[str, ...], options: dict[str, Any], message: str
) -> None:
    source = write_csv(tmp_path / "ask.csv", header, [("hello",)])
    folders = [decoder] * (1 + options.pop("many", False))
    with pytest.raises((ConfigError, DataError), match=message):
        predict_file(folders, source, tmp_path / "out.csv", device="cpu", **options)
    assert not (tmp_path / "out.csv").exists()


def test_new_tokens_of_a_classifier_are_refused(
    trained: Callable[[str], Path], tmp_path: Path
) -> None:
    source = write_csv(tmp_path / "ask.csv", ("text",), [("hello",)])
    with pytest.raises(ConfigError, match=r"--max-new-tokens: .* writes no responses"):
        predict_file([trained("lora")], source, tmp_path / "out.csv", max_new_tokens=3)


@pytest.fixture(scope="module")
def reader(workplace: Path, tiny_bert: Path) -> Path:
    """A question answering model."""
    rows = []
    for n in range(48):
        context = f"Ada, {n} years old, lives in Zürich."
        answer = {"text": [f"{n}"], "answer_start": [5]} if n % 2 else _NO_ANSWER
        rows.append({"id": f"q{n}", "question": "How old?", "context": context, "answers": answer})
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (workplace / "squad.jsonl").write_text(text, encoding="utf-8")
    task = {
        "kind": "extractive_qa",
        "source": {"type": "files", "files": {"train": "squad.jsonl"}},
        "splits": {"report": None, "report_rows": 8},
        "metric": "f1",
        "train_rows": 16,
        "search_rows": 16,
        "max_length": 24,
        "doc_stride": 8,
    }
    study = write_study_file(workplace / "squad.yaml", tiny_bert, {"ages": task})
    optimum = write_found(study, "lora", metric="f1")
    (folder,) = train_final(study, optimum, workplace / "reader", say=lambda line: None)
    return folder


_NO_ANSWER: dict[str, list[Any]] = {"text": [], "answer_start": []}


def test_answers_are_parts_of_their_context(reader: Path, tmp_path: Path) -> None:
    contexts = ["Bob is 12, or so.", 'Nobody; "said" a thing.\n' * 6, "Zoë: 7"]
    rows = [(f"k{i}", "How old?", context) for i, context in enumerate(contexts)]
    source = write_csv(tmp_path / "ask.csv", ("id", "question", "context"), rows)
    _set_threshold(reader, 1e3)  # an answer wherever there is one
    report = predict_file(
        [reader], source, tmp_path / "out.csv", batch_size=2, device="cpu", say=lambda line: None
    )
    found = read_csv(tmp_path / "out.csv")
    assert found[0] == ["id", "prediction"]
    assert [row[0] for row in found[1:]] == ["k0", "k1", "k2"]
    for row, context in zip(found[1:], contexts, strict=True):
        assert row[1]
        assert row[1] in context
    assert (report.rows, report.truncated) == (3, 0)


def test_the_records_threshold_decides_on_no_answer(reader: Path, tmp_path: Path) -> None:
    source = write_csv(
        tmp_path / "ask.csv", ("question", "context"), [("How old?", "Bob is 12."), ("Who?", "Al")]
    )
    _set_threshold(reader, -1e3)
    predict_file([reader], source, tmp_path / "out.csv", device="cpu", say=lambda line: None)
    assert read_csv(tmp_path / "out.csv")[1:] == [["0", ""], ["1", ""]]


def _set_threshold(folder: Path, threshold: float) -> None:
    record = read_record(folder)
    assert record is not None
    assert record.threshold is not None
    write_record(folder, record.model_copy(update={"threshold": threshold}))
