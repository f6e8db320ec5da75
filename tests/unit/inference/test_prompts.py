"""The prompt suite: what counts as right, and that the one that comes along can be passed."""

import re
from pathlib import Path

import pytest

from phasewise.errors import ConfigError
from phasewise.inference.loading import load_model, read_model_folder
from phasewise.inference.prompts import (
    DEFAULT_SUITE,
    PromptAnswer,
    answer_suite,
    measure_speed,
    read_suite,
)
from tiny_models import write_tiny_decoder

#: A right and a wrong answer to each checked prompt of the default suite.
_ANSWERS = {
    "capital": ("It is Paris.", "Parisian"),
    "boiling": ("100 °C", "1000"),
    "sum": ("42", "142"),
    "apples": ("There are 10 left.", "12"),
    "order": ("Cara", "Anna"),
    "translate": ("Guten Morgen!", "Guten Tag"),
    "sentiment": ("Negative.", "positive"),
    "format": ('{"name": "Ada", "age": 36}', '{"name": "Ada"}'),
    "function": ('get_weather("Oslo")', "get_weather()"),
}


def test_the_default_suite_tells_right_from_wrong() -> None:
    suite = read_suite(DEFAULT_SUITE)
    assert len(suite.prompts) == 10
    checked = {prompt.name: prompt.expect for prompt in suite.prompts if prompt.expect}
    assert set(checked) == set(_ANSWERS)
    for name, (right, wrong) in _ANSWERS.items():
        assert re.search(checked[name], right), name
        assert not re.search(checked[name], wrong), name


def test_a_model_is_asked_and_timed(tmp_path: Path) -> None:
    model = load_model(read_model_folder(write_tiny_decoder(tmp_path / "llama")), "cpu")
    suite = tmp_path / "suite.yaml"
    suite.write_text(
        "max_new_tokens: 5\nprompts:\n"
        "- {name: any, category: x, prompt: 'Ja?', expect: '(?s).*'}\n"
        "- {name: none, category: x, prompt: 'Nein?', expect: 'never said'}\n"
        "- {name: open, category: y, prompt: 'Und?'}\n"
    )
    answers = answer_suite(model, read_suite(suite))
    assert [answer.right for answer in answers] == [True, False, None]
    assert [answer.prompt_tokens for answer in answers] == [3, 5, 4]  # a byte is a token
    assert all(1 <= answer.new_tokens <= 5 for answer in answers)
    again = answer_suite(model, read_suite(suite))
    assert [answer.answer for answer in again] == [answer.answer for answer in answers]


def test_a_chat_model_gets_its_template(tmp_path: Path) -> None:
    model = load_model(read_model_folder(write_tiny_decoder(tmp_path / "llama")), "cpu")
    model.tokenizer.chat_template = "{% for m in messages %}<{{ m.content }}>{% endfor %}"
    (answer, *_) = answer_suite(model, read_suite(_one_prompt(tmp_path)))
    assert answer.prompt_tokens == len("<hello><")  # the model's turn is opened as in training


def _one_prompt(tmp_path: Path) -> Path:
    suite = tmp_path / "one.yaml"
    suite.write_text("max_new_tokens: 1\nprompts: [{name: a, category: b, prompt: hello}]\n")
    return suite


def test_speed_is_tokens_over_seconds_of_whole_answers() -> None:
    common = {"name": "a", "category": "b", "prompt": "c", "answer": "d", "right": None}
    answers = [
        PromptAnswer(**common, prompt_tokens=1, new_tokens=n, first_token_ms=ms, seconds=s)
        for n, ms, s in [(10, 5.0, 1.0), (20, 15.0, 3.0)]
    ]
    speed = measure_speed(answers)
    assert speed.tokens_per_second == pytest.approx(30 / 4)
    assert speed.first_token_p50_ms == pytest.approx(10.0)
    assert speed.first_token_p95_ms == pytest.approx(14.5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prompts: []", "prompts: "),
        ("prompts: [{name: a, category: b, prompt: c, expect: '('}]", "not a regular expression"),
        ("prompts: [{name: a, category: b, prompt: c, answer: d}]", "prompts.0.answer"),
    ],
)
def test_a_bad_suite_is_refused(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "suite.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_suite(file)
    with pytest.raises(ConfigError, match="no such settings file"):
        read_suite(tmp_path / "none.yaml")
