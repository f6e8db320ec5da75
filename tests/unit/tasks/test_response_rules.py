from decimal import Decimal

import pytest

from phasewise.tasks.response_rules import (
    find_final_number,
    score_final_number,
    score_function_calls,
    score_rouge_l,
)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("so 48+24 = <<48+24=72>>72 clips.\n#### 72", 72),
        ("#### 1,200", 1200),
        ("#### $1,200.50.", Decimal("1200.5")),
        ("#### -3 degrees", -3),
        ("#### 5\n#### 7", 7),
        ("She has 3 apples, then 12.", 12),
        ("#### .5", Decimal("0.5")),
        ("#### none", None),
        ("no number", None),
        ("", None),
    ],
)
def test_the_final_number_is_found(text: str, number: object) -> None:
    assert find_final_number(text) == number


def test_numbers_are_compared_as_values() -> None:
    assert score_final_number("#### 72.0", "#### 72") == 1
    assert score_final_number("about 72", "#### 72") == 1
    assert score_final_number("#### 73", "#### 72") == 0
    assert score_final_number("", "#### 72") == 0
    assert score_final_number("nothing", "nothing") == 0


CALL = '[{"name": "f", "arguments": {"x": 1, "y": ["a", {"z": 2.5}]}}]'


@pytest.mark.parametrize(
    ("said", "score"),
    [
        (CALL, 1),
        ('{"arguments": {"y": ["a", {"z": 2.5}], "x": 1.0}, "name": "f"}', 1),
        (f"Sure:\n```json\n{CALL}\n```", 1),
        ('{"name": "f", "parameters": {"x": 1, "y": ["a", {"z": 2.5}]}}', 1),
        ('{"name": "f", "arguments": "{\\"x\\": 1, \\"y\\": [\\"a\\", {\\"z\\": 2.5}]}"}', 1),
        ('[{"name": "g", "arguments": {"x": 1, "y": ["a", {"z": 2.5}]}}]', 0),
        ('[{"name": "f", "arguments": {"x": "1", "y": ["a", {"z": 2.5}]}}]', 0),
        ('[{"name": "f", "arguments": {"x": true, "y": ["a", {"z": 2.5}]}}]', 0),
        ('[{"name": "f", "arguments": {"x": 1}}]', 0),
        (f"[{CALL[1:-1]}, {CALL[1:-1]}]", 0),
        (CALL[:-4], 0),
        ('{"name": "f", "arguments": [1]}', 0),
        ('{"name": "f", "arguments": "x"}', 0),
        ("[]", 0),
        ("", 0),
    ],
)
def test_calls_are_compared_by_name_and_values(said: str, score: int) -> None:
    assert score_function_calls(said, CALL) == score


def test_the_order_of_calls_does_not_matter_but_their_number_does() -> None:
    first, second = '{"name": "f", "arguments": {}}', '{"name": "g", "arguments": {}}'
    assert score_function_calls(f"[{second}, {first}]", f"[{first}, {second}]") == 1
    assert score_function_calls(f"[{first}]", f"[{first}, {first}]") == 0


def test_rouge_l_is_the_worked_example_of_lin_2004() -> None:
    """Section 3.1: reference "police killed the gunman"; LCS 3 and 2 of 4 words."""
    reference = "police killed the gunman"
    assert score_rouge_l("police kill the gunman", reference) == pytest.approx(0.75)
    assert score_rouge_l("the gunman kill police", reference) == pytest.approx(0.5)
    assert score_rouge_l("Police killed, the GUNMAN!", reference) == 1
    assert score_rouge_l("", reference) == 0
    assert score_rouge_l("", "...") == 1
