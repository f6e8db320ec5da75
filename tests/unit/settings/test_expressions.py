"""Conditions and constraints: what they compute, and what they refuse."""

import pytest

from phasewise.settings.expressions import expression_names, is_true, rename


@pytest.mark.parametrize(
    ("text", "values", "holds"),
    [
        ("alpha >= r", {"alpha": 8, "r": 8}, True),
        ("alpha >= 2 * r", {"alpha": 8, "r": 8}, False),
        ("1 < epochs <= 3", {"epochs": 3}, True),
        ("kind in ['cosine', 'linear'] and not epochs == 1", {"kind": "cosine", "epochs": 2}, True),
        ("kind not in ('cosine',) or -rate < -1", {"kind": "cosine", "rate": 0.5}, False),
        ("(alpha + r) / 2 != alpha - r", {"alpha": 3, "r": 1}, False),
    ],
)
def test_expression_is_computed_as_python_would(text: str, values: dict, holds: bool) -> None:
    assert is_true(text, values) is holds
    assert eval(text, {}, dict(values)) == holds


@pytest.mark.parametrize(
    "text",
    [
        "open('x')",
        "r.__class__",
        "r[0]",
        "r ** 99",
        "lambda: 1",
        "r if r else 1",
        "r >=",
        "",
        "{r}",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not allowed|is no comparison"):
        expression_names(text)


@pytest.mark.parametrize(("text", "values"), [("a < b", {"a": 1, "b": "x"}), ("1 / a", {"a": 0})])
def test_what_cannot_be_computed_names_the_values(text: str, values: dict) -> None:
    with pytest.raises(ValueError, match="cannot be computed with a="):
        is_true(text, values)


def test_names_come_once_in_order_and_can_be_replaced() -> None:
    assert expression_names("alpha >= r and r < 2 * alpha") == ("alpha", "r")
    assert rename("alpha >= r", {"r": "lora_rank"}) == "alpha >= lora_rank"
    assert expression_names("alpha >= r") == ("alpha", "r")  # the first text stays as it was
