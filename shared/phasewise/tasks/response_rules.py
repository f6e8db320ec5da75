"""How a written response is compared with the expected one: final number, function calls, ROUGE-L.

Each returns 0..1 for one example; every metric of an instruction task is a mean over examples.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from phasewise.tasks.words import find_words

_MARKED = re.compile(r"####\s*(.+)")
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?|-?\.\d+")
_NO_THOUGHTS = re.compile(r"^\s*<think>\s*</think>\s*")


def find_final_number(text: str) -> Decimal | None:
    """Returns the number after the last ``####`` (GSM8K), without it the last number; else None.

    Thousands separators, currency signs, units and a final full stop do not count: ``$1,200.00``
    is 1200. Source: openai/grade-school-math, dataset.py, extract_answer (``####`` only).
    """
    marked = _MARKED.findall(text)
    numbers = _NUMBER.findall(marked[-1] if marked else text)
    if not numbers:
        return None
    try:
        return Decimal((numbers[0] if marked else numbers[-1]).replace(",", ""))
    except InvalidOperation:
        return None


def score_final_number(said: str, expected: str) -> float:
    """Returns 1 if both texts end in the same number; an expected text without one is never met."""
    number = find_final_number(expected)
    return float(number is not None and find_final_number(said) == number)


def score_function_calls(said: str, expected: str) -> float:
    """Returns 1 if the same functions are called with the same arguments, in any order.

    Arguments are compared as JSON values: ``1`` equals ``1.0`` and not ``true`` or ``"1"``; the
    order of keys does not matter, that of a list does. Text around the JSON is passed over.
    """
    calls = find_function_calls(expected)
    return float(calls is not None and find_function_calls(said) == calls)


def find_function_calls(text: str) -> Counter[str] | None:
    """Returns the calls of the first JSON in a text, each in canonical form; None without any.

    A call is ``{"name": …, "arguments": {…}}`` or, as some models write it, with ``parameters``
    or with the arguments as a JSON text; a list holds several.
    """
    value = _find_json(text)
    calls = value if isinstance(value, list) else [value]
    written = [_canonical_call(call) for call in calls]
    if not written or None in written:
        return None
    return Counter(call for call in written if call is not None)


def score_rouge_l(said: str, expected: str) -> float:
    """Returns the F-measure of the longest common subsequence of words, in lower case.

    Source: Lin 2004, ROUGE: A Package for Automatic Evaluation of Summaries, section 3.1, with
    beta = 1 and without stemming. In scripts without blanks a character is a word (see ``words``).
    Two texts without words score 1.
    """
    first, second = (find_words(text.lower()) for text in (said, expected))
    if not first or not second:
        return float(first == second)
    shared = _longest_common(first, second)
    return 2 * shared / (len(first) + len(second))


#: Name of a metric to what it gives for (written, expected).
RESPONSE_RULES: Mapping[str, Callable[[str, str], float]] = {
    "exact_answer": score_final_number,
    "function_match": score_function_calls,
    "rouge_l": score_rouge_l,
}


def score_response(metric: str, said: str, expected: str) -> float:
    """Returns what a metric gives for a response; thoughts without content are no part of one."""
    return RESPONSE_RULES[metric](_NO_THOUGHTS.sub("", said), _NO_THOUGHTS.sub("", expected))


def _find_json(text: str) -> Any:
    decoder = json.JSONDecoder()
    for match in re.finditer(r"[\[{]", text):
        try:
            return decoder.raw_decode(text, match.start())[0]
        except json.JSONDecodeError:
            continue
    return None


def _canonical_call(call: object) -> str | None:
    if not isinstance(call, dict) or not isinstance(call.get("name"), str):
        return None
    arguments = call.get("arguments", call.get("parameters", {}))
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except json.JSONDecodeError:
            return None
    if not isinstance(arguments, dict):
        return None
    return json.dumps([call["name"], _plain(arguments)], sort_keys=True)


def _plain(value: Any) -> Any:
    """Returns a JSON value with whole floats as integers, all the way down."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        return int(value)
    return value


def _longest_common(first: Sequence[str], second: Sequence[str]) -> int:
    """Returns the length of the longest common subsequence, in O(len(second)) memory."""
    row = [0] * (len(second) + 1)
    for word in first:
        diagonal = 0
        for index, other in enumerate(second, start=1):
            above = row[index]
            row[index] = diagonal + 1 if word == other else max(above, row[index - 1])
            diagonal = above
    return row[-1]
