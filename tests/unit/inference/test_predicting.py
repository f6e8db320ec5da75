"""Files in, probabilities out: order, ids, odd texts, formats, ensembles, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from final_study import TOPICS, read_csv, write_csv, write_found, write_study_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from phasewise.errors import ConfigError, DataError, InfeasibleRunError
from phasewise.inference import predicting
from phasewise.inference.final import train_final
from phasewise.inference.predicting import PredictionReport, predict_file, to_probabilities
from phasewise.settings import Study

#: Of different lengths, so that batches sorted by length are out of the file's order.
_TEXTS = [
    "short",
    TOPICS[1],
    "a, b, and c; " * 3,
    TOPICS[2],
    '"',
    'line one\n\nline three, with "quotes"',
    "日本語のテキスト",
]


def _predict(folder: Path, source: Path, **options: Any) -> tuple[list[list[str]], Any]:
    output = source.with_name("submission.csv")
    fixed = {"batch_size": 3, "device": "cpu", "say": lambda line: None}
    options = {**fixed, "probabilities_only": True, **options}
    report = predict_file([folder], source, output, **options)
    return read_csv(output), report


def _expected(folder: Path, texts: list[str]) -> np.ndarray:
    """One text at a time, with nothing but transformers."""
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = []
    for text in texts:
        inputs = tokenizer(text, truncation=True, max_length=16, return_tensors="pt")
        with torch.inference_mode():
            rows.append(torch.softmax(model(**inputs).logits[0].double(), dim=0).numpy())
    return np.array(rows)


def test_three_classes_in_the_files_order_with_its_ids(
    trained: Callable[[str], Path], tmp_path: Path
) -> None:
    ids = ["7", "a,b", 'q"', "z\ny", "ü", "5", "6"]
    source = write_csv(tmp_path / "test.csv", ("ID", "text"), list(zip(ids, _TEXTS, strict=True)))
    rows, report = _predict(trained("full_finetune"), source)
    assert rows[0] == ["ID", "sport", "film", "letter"]
    assert [row[0] for row in rows[1:]] == ids
    found = np.array([row[1:] for row in rows[1:]], dtype=float)  # (rows, classes)
    np.testing.assert_allclose(found.sum(axis=1), 1.0, atol=1e-12)
    np.testing.assert_allclose(found, _expected(trained("full_finetune"), _TEXTS), atol=1e-6)
    assert found.std(axis=0).min() > 1e-4, "the texts must be told apart for the order to count"
    assert report == PredictionReport(rows=7, models=1, truncated=1, max_length=16)


def test_the_most_likely_class_stands_beside_the_probabilities(
    trained: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_csv(tmp_path / "test.csv", ("id", "text"), list(enumerate(_TEXTS)))
    plain, _ = _predict(trained("lora"), source)
    rows, _ = _predict(trained("lora"), source, probabilities_only=False)
    assert rows[0] == ["id", "prediction", "sport", "film", "letter"]
    assert [[row[0], *row[2:]] for row in rows] == plain
    for row in rows[1:]:
        assert row[1] == rows[0][2:][int(np.argmax([float(p) for p in row[2:]]))]
    monkeypatch.setattr(predicting, "ANSWER_COLUMN", "film")
    with pytest.raises(ConfigError, match="'film' is the column of the most likely class"):
        _predict(trained("lora"), source, probabilities_only=False)


@pytest.mark.parametrize("ending", [".jsonl", ".parquet", ".tsv"])
def test_other_formats_give_the_same(
    trained: Callable[[str], Path], tmp_path: Path, ending: str
) -> None:
    csv_file = write_csv(tmp_path / "test.csv", ("id", "text"), list(enumerate(_TEXTS)))
    expected, _ = _predict(trained("lora"), csv_file)
    frame = pd.DataFrame({"id": range(len(_TEXTS)), "text": _TEXTS})
    source = tmp_path / f"test{ending}"
    if ending == ".jsonl":
        frame.to_json(source, orient="records", lines=True, force_ascii=False)
    elif ending == ".parquet":
        frame.to_parquet(source)
    else:
        cells = [f"{n}\t{' '.join(text.split())}\n" for n, text in enumerate(_TEXTS)]
        source.write_text("".join(["id\ttext\n", *cells]))  # a cell holds no line break
    rows, _ = _predict(trained("lora"), source)
    assert rows == expected


@pytest.fixture(scope="module")
def seven(workplace: Path, tiny_bert: Path) -> Path:
    """Two models of the documented layout: Question, Response, target 0 to 6."""
    folder = workplace / "seven"
    folder.mkdir()
    rows = [(f"Why, {i}?", f'Because "{TOPICS[i % 3]}"', i % 7) for i in range(84)]
    write_csv(folder / "train.csv", ("Question", "Response", "target"), rows)
    task = {
        "kind": "classification",
        "source": {"type": "files", "files": {"train": "train.csv"}},
        "splits": {"report": None, "report_rows": 14},
        "text": ["Question", "Response"],
        "label": "target",
        "labels": [str(index) for index in range(7)],
        "metric": "accuracy",
        "train_rows": 28,
        "search_rows": 14,
        "max_length": 32,
    }
    study = write_study_file(folder / "study.yaml", tiny_bert, {"contest": task})
    optimum = write_found(study, "lora")
    train_final(study, optimum, folder / "model", all_data=True, seeds=2, say=lambda line: None)
    return folder / "model"


def test_seven_classes_of_pairs_and_the_mean_of_seeds(seven: Path, tmp_path: Path) -> None:
    rows = [("Who, me?", "Yes\nyou"), ('He said "no"', "Nein, danke"), ("¿Qué?", "…")]
    source = write_csv(tmp_path / "test.csv", ("Question", "Response"), rows)
    both, report = _predict(seven, source, column="target_{index}")
    assert both[0] == ["id", *(f"target_{index}" for index in range(7))]
    assert [row[0] for row in both[1:]] == ["0", "1", "2"]
    assert report.models == 2
    single = [_predict(seven / name, source)[0] for name in ("seed-00", "seed-01")]
    assert single[0][0] == ["id", *map(str, range(7))]
    mean, first, second = (
        np.array([row[1:] for row in table[1:]], dtype=float) for table in (both, *single)
    )
    np.testing.assert_allclose(mean, (first + second) / 2, atol=1e-12)
    np.testing.assert_allclose(mean.sum(axis=1), 1.0, atol=1e-12)
    assert np.abs(first - second).max() > 1e-4


def test_models_of_different_classes_are_not_averaged(
    trained: Callable[[str], Path], seven: Path, tmp_path: Path
) -> None:
    source = write_csv(tmp_path / "test.csv", ("text",), [("hello",)])
    with pytest.raises(ConfigError, match="only models of one task can be averaged"):
        predict_file([trained("lora"), seven / "seed-00"], source, tmp_path / "out.csv")


def test_columns_may_have_other_names(trained: Callable[[str], Path], tmp_path: Path) -> None:
    source = write_csv(tmp_path / "test.csv", ("body", "key"), [("hello, you", "k1")])
    rows, _ = _predict(trained("lora"), source, text=["body"], id_column="key")
    assert rows[0][0] == "key"
    assert rows[1][0] == "k1"


@pytest.mark.parametrize(
    ("header", "rows", "options", "message"),
    [
        (("id", "txt"), [("1", "a")], {}, "no column 'text'; did you mean 'txt'?.*--text"),
        (("id", "text"), [("1", "a")], {"id_column": "key"}, "no column 'key'.*--id"),
        (
            ("id", "text"),
            [("1", "a"), ("2", "b"), ("1", "c"), ("1", "d")],
            {},
            "line 4: column 'id': id '1' stands in line 2 too.*and 1 more rows",
        ),
        (("id", "text"), [("1", "a"), ("", "b")], {}, "line 3: column 'id': expected an id"),
        (
            ("id", "text"),
            [("1", "a"), ("2", " "), ("3", "")],
            {},
            "line 3: column 'text': expected a text that is not empty.*and 1 more.*--allow-empty",
        ),
        (("id", "text"), [], {}, "expected data rows"),
    ],
)
def test_a_bad_file_is_refused_by_row(
    trained: Callable[[str], Path],
    tmp_path: Path,
    header: tuple[str, ...],
    rows: list[tuple[str, ...]],
    options: dict[str, Any],
    message: str,
) -> None:
    source = write_csv(tmp_path / "test.csv", header, rows)
    with pytest.raises(DataError, match=message):
        _predict(trained("lora"), source, **options)
    assert not (tmp_path / "submission.csv").exists()


def test_rows_of_a_jsonl_may_lack_a_column(trained: Callable[[str], Path], tmp_path: Path) -> None:
    source = tmp_path / "test.jsonl"
    source.write_text('{"text": "a"}\n\n{"txt": "b"}\n')
    with pytest.raises(DataError, match="line 3: no 'text'"):
        _predict(trained("lora"), source)
    source.write_text(json.dumps({"text": 5}))
    with pytest.raises(DataError, match="line 1: column 'text': expected a text, got 5"):
        _predict(trained("lora"), source)


def test_empty_texts_are_predicted_on_demand(
    trained: Callable[[str], Path], tmp_path: Path
) -> None:
    source = write_csv(tmp_path / "test.csv", ("id", "text"), [("1", ""), ("2", "b")])
    rows, _ = _predict(trained("lora"), source, allow_empty=True)
    assert [row[0] for row in rows[1:]] == ["1", "2"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"column": "class"}, "names two classes alike"),
        ({"column": "{name}"}, "expected {label} or {index}"),
        ({"text": ["a", "b"]}, r"the model reads 1 column\(s\) \(text\), got 2"),
    ],
)
def test_bad_flags_are_refused(
    trained: Callable[[str], Path], tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    source = write_csv(tmp_path / "test.csv", ("text",), [("hello",)])
    with pytest.raises(ConfigError, match=message):
        _predict(trained("lora"), source, **options)


def test_a_diverged_model_gives_no_probabilities() -> None:
    with pytest.raises(InfeasibleRunError, match="row 2: the model's logits are not finite"):
        to_probabilities(np.array([[0.0, 1.0], [np.nan, 1.0]]))


def test_a_model_from_elsewhere_needs_its_columns_named(
    trained: Callable[[str], Path], topics: Study, tmp_path: Path
) -> None:
    plain = AutoModelForSequenceClassification.from_pretrained(trained("full_finetune"))
    plain.save_pretrained(tmp_path / "plain")
    AutoTokenizer.from_pretrained(trained("full_finetune")).save_pretrained(tmp_path / "plain")
    source = write_csv(tmp_path / "test.csv", ("id", "text"), list(enumerate(_TEXTS[:2])))
    with pytest.raises(ConfigError, match="--text COLUMN"):
        _predict(tmp_path / "plain", source)
    rows, report = _predict(tmp_path / "plain", source, text=["text"])
    assert rows[0] == ["id", "sport", "film", "letter"]
    assert report.max_length == 512
