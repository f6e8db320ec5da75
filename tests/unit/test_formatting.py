"""CSV files hold no text that a spreadsheet would run."""

import csv
import io
from dataclasses import dataclass

import numpy as np
import pytest

from phasewise.formatting import guard_cell
from phasewise.inference.inputs import InputRows
from phasewise.inference.predicting import format_probabilities
from phasewise.report.columns import write_csv
from phasewise.tasks.examples import Example


@pytest.mark.parametrize("text", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1"])
def test_a_formula_becomes_a_text(text: str) -> None:
    assert guard_cell(text) == "'" + text


@pytest.mark.parametrize("value", ["-0.5", "+3", "-1e-6", -0.5, -3, None, "", "a=b", "–", "日本"])
def test_numbers_and_plain_texts_stay(value: object) -> None:
    assert guard_cell(value) == value


def test_every_table_of_the_report_is_guarded() -> None:
    @dataclass(frozen=True)
    class Row:
        message: str
        score: float

    rows = list(csv.reader(io.StringIO(write_csv([Row("=HYPERLINK(1)", -0.5)]))))
    assert rows == [["message", "score"], ["'=HYPERLINK(1)", "-0.5"]]


def test_labels_and_ids_of_predictions_are_guarded() -> None:
    examples = [Example(id=id_, texts=("t",)) for id_ in ("=1+1", "-7")]
    text = format_probabilities(
        InputRows("id", examples), ["@a", "b"], np.array([[0.25, 0.75]] * 2)
    )
    rows = list(csv.reader(io.StringIO(text)))
    assert rows == [["id", "'@a", "b"], ["'=1+1", "0.25", "0.75"], ["-7", "0.25", "0.75"]]
