"""Instruction rows to features and scores, on a tokenizer of bytes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from task_rows import write_jsonl

from phasewise.errors import ConfigError, DataError, InfeasibleRunError
from phasewise.methods.models import load_tokenizer
from phasewise.settings import ModelSettings, TaskSettings
from phasewise.tasks.data import load_task_data
from phasewise.tasks.examples import Example, ResponseOutputs
from phasewise.tasks.instruction import IGNORED, Instruction
from phasewise.tasks.sources import read_split
from tiny_models import write_byte_tokenizer

KIND = Instruction()
ROWS = [
    {"instruction": "Add.", "input": "1 {and} 2", "output": "3"},
    {"instruction": "Greet.", "input": "", "output": "Hello"},
    {"instruction": "Greet.", "input": None, "output": ""},
    {"instruction": "Count.", "output": 7},
]
PROMPT = {"template": "{instruction} | {input} =", "template_without": "{instruction} ="}


@pytest.fixture
def bytes_tokenizer(tmp_path: Path) -> Any:
    tokenizer = write_byte_tokenizer(tmp_path / "tokenizer")
    tokenizer.pad_token, tokenizer.model_max_length = tokenizer.eos_token, 256
    return tokenizer


@pytest.fixture
def task_of(tmp_path: Path) -> Callable[..., TaskSettings]:
    def build(rows: list[dict[str, Any]] = ROWS, **changes: Any) -> TaskSettings:
        write_jsonl(tmp_path / "train.jsonl", rows)
        content = {
            "name": "tales",
            "kind": "instruction",
            "source": {"type": "files", "files": {"train": str(tmp_path / "train.jsonl")}},
            "splits": {"report": None, "report_rows": 2},
            "prompt": PROMPT,
            "response": "output",
            "metric": "eval_loss",
        }
        return TaskSettings.model_validate({**content, **changes})

    return build


def parse(task: TaskSettings) -> list[Example]:
    return KIND.parse(task, "train", read_split(task, "train", None))


def test_the_form_without_an_input_is_used_where_it_is_empty_or_absent(
    task_of: Callable[..., TaskSettings],
) -> None:
    examples = parse(task_of())
    assert [e.texts for e in examples] == [
        ("", "Add. | 1 {and} 2 =", "3"),
        ("", "Greet. =", "Hello"),
        ("", "Greet. =", ""),
        ("", "Count. =", "7"),
    ]
    assert [e.id for e in examples] == ["train-1", "train-2", "train-3", "train-4"]
    assert KIND.texts_apart(examples[1]) == KIND.texts_apart(examples[2])


def test_a_bad_row_is_refused_by_file_line_and_column(
    task_of: Callable[..., TaskSettings],
) -> None:
    with pytest.raises(DataError, match=r"train\.jsonl: line 2: no column 'instruction'"):
        parse(task_of([ROWS[0], {"output": "x"}]))
    with pytest.raises(DataError, match=r"line 1: column 'output': expected a text or a number"):
        parse(task_of([{**ROWS[0], "output": ["a"]}]))
    with pytest.raises(DataError, match=r"line 1: column 'instruction': .*not empty"):
        parse(task_of([{"instruction": " ", "output": "x"}]))
    with pytest.raises(DataError, match="all 1 responses are empty"):
        parse(task_of([ROWS[2]]))


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ({"template": "no column"}, "names no column"),
        ({"template": "{a b}"}, "is no column name"),
        ({"template": "{a"}, "expected '}'"),
        ({"template": '{"x": 1}'}, "is no column name"),
        ({"template": "{a}", "template_without": "{a}"}, "nothing differs"),
    ],
)
def test_a_bad_template_is_refused(
    task_of: Callable[..., TaskSettings], prompt: dict[str, str], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        task_of(prompt=prompt)


def test_only_the_response_and_its_end_carry_loss(
    task_of: Callable[..., TaskSettings], bytes_tokenizer: Any
) -> None:
    task = task_of()
    feature = KIND.tokenize_train(parse(task), bytes_tokenizer, task)[1]
    assert bytes_tokenizer.decode(feature["input_ids"]) == "Greet. =Hello<|end|>"
    assert (feature["labels"][:8] == IGNORED).all()
    np.testing.assert_array_equal(feature["labels"][8:], feature["input_ids"][8:])
    assert feature["labels"][-1] == bytes_tokenizer.eos_token_id


def test_what_does_not_fit_is_cut_and_counted_by_line(
    task_of: Callable[..., TaskSettings], bytes_tokenizer: Any
) -> None:
    rows = [
        {"instruction": "p" * 30, "output": "r"},  # 30 + 2 + 2 tokens: prompt loses its start
        {"instruction": "p", "output": "r" * 30},  # response loses its end, and the end token
        {"instruction": "q", "output": "r"},
        {"instruction": "s", "output": ""},
    ]
    task = task_of(rows, prompt={"template": "{instruction} ="}, max_length=16)
    examples = parse(task)
    first, second, third, fourth = KIND.tokenize_train(examples, bytes_tokenizer, task)
    assert bytes_tokenizer.decode(first["input_ids"]) == "p" * 12 + " =" + "r<|end|>"
    assert bytes_tokenizer.decode(second["input_ids"]) == "p =" + "r" * 13
    assert bytes_tokenizer.decode(third["input_ids"]) == "q =r<|end|>"
    assert (fourth["labels"] != IGNORED).sum() == 1, "an empty response is its end"
    assert KIND.describe_cuts(examples, bytes_tokenizer, task) == (
        "1 of 4 prompts: start cut to fit max_length 16 (line 1)",
        "1 of 4 responses: end cut to fit max_length 16 (line 2)",
        "1 of 4 responses: empty (line 4)",
    )


def test_prompts_that_are_too_long_may_be_refused_by_row(
    task_of: Callable[..., TaskSettings], bytes_tokenizer: Any
) -> None:
    rows = [{"instruction": "a" * n, "output": "b" * 9} for n in (40, 2, 50)]
    task = task_of(rows, prompt={"template": "{instruction}", "too_long": "refuse"}, max_length=32)
    examples = parse(task)
    with pytest.raises(DataError, match=r"2 of 3 prompts .* max_length 32 .*\(train-1, train-3\)"):
        KIND.tokenize_train(examples, bytes_tokenizer, task)
    with pytest.raises(DataError, match="too_long: cut"):
        KIND.tokenize_eval(examples, bytes_tokenizer, task)
    assert len(KIND.tokenize_eval(examples[1:2], bytes_tokenizer, task).features) == 1


def test_a_length_beyond_the_model_is_refused(
    task_of: Callable[..., TaskSettings], bytes_tokenizer: Any
) -> None:
    task = task_of(max_length=257)
    with pytest.raises(ConfigError, match="max_length 257 is more than the 256 tokens"):
        KIND.tokenize_train(parse(task), bytes_tokenizer, task)


def test_a_chat_puts_the_system_message_first_and_ends_the_turn(
    task_of: Callable[..., TaskSettings], bytes_tokenizer: Any
) -> None:
    prompt = {"template": "{instruction}", "system": "Be kind to {input}.", "chat": "chatml"}
    task = task_of([{"instruction": "Hi", "input": "Bo", "output": "Hello"}], prompt=prompt)
    (feature,) = KIND.tokenize_train(parse(task), bytes_tokenizer, task)
    text = bytes_tokenizer.decode(feature["input_ids"])
    assert text == (
        "<|im_start|>system\nBe kind to Bo.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\nHello<|im_end|><|end|>"
    )
    spoken = feature["input_ids"][feature["labels"] != IGNORED]
    assert bytes_tokenizer.decode(spoken) == "Hello<|im_end|><|end|>"


@pytest.mark.parametrize(
    ("chat", "expected"),
    [
        ("mistral", "<|end|>[INST] Be kind.\n\nHi [/INST] Hello<|end|>"),
        ("zephyr", "<|system|>\nBe kind.<|end|>\n<|user|>\nHi<|end|>\n<|assistant|>\nHello<|end|>"),
        ("none", "Be kind.\n\nHiHello<|end|>"),
    ],
)
def test_named_chat_templates(
    task_of: Callable[..., TaskSettings], bytes_tokenizer: Any, chat: str, expected: str
) -> None:
    bytes_tokenizer.bos_token = bytes_tokenizer.eos_token
    prompt = {"template": "{instruction}", "system": "Be kind.", "chat": chat}
    task = task_of([{"instruction": "Hi", "output": "Hello"}], prompt=prompt)
    (feature,) = KIND.tokenize_train(parse(task), bytes_tokenizer, task)
    assert bytes_tokenizer.decode(feature["input_ids"]) == expected


def test_a_model_without_a_chat_template_is_refused(
    task_of: Callable[..., TaskSettings], bytes_tokenizer: Any
) -> None:
    task = task_of(prompt={**PROMPT, "chat": "model"})
    with pytest.raises(ConfigError, match="has no chat template; expected one of none, chatml"):
        KIND.tokenize_train(parse(task), bytes_tokenizer, task)
    bytes_tokenizer.chat_template = "{{ raise_exception('no system') }}"
    with pytest.raises(ConfigError, match="refuses the conversation"):
        KIND.tokenize_train(parse(task), bytes_tokenizer, task)


def test_the_loss_is_weighted_by_tokens_and_its_shares_average_to_it(
    task_of: Callable[..., TaskSettings], bytes_tokenizer: Any
) -> None:
    task = task_of(generation={"report_metrics": ["exact_answer", "rouge_l"]})
    eval_set = KIND.tokenize_eval(parse(task), bytes_tokenizer, task)
    losses, tokens = np.array([2.0, 12.0, 1.0, 3.0]), np.array([2, 6, 1, 2])
    scored = KIND.score(task, eval_set, ResponseOutputs(losses, tokens))
    assert scored.metrics == {
        "eval_loss": pytest.approx(18 / 11),
        "perplexity": pytest.approx(np.exp(18 / 11)),
    }
    shares = [row.correct for row in scored.predictions]
    assert np.mean(shares) == pytest.approx(18 / 11)
    assert scored.predictions[1].logits == (12.0, 6.0)

    counted = ResponseOutputs(losses, tokens, right=np.array([2, 3, 0, 1]))
    assert KIND.score(task, eval_set, counted).metrics["eval_accuracy"] == pytest.approx(6 / 11)

    written = ResponseOutputs(losses, tokens, ("3", "hello you", "", "8"))
    scored = KIND.score(task, eval_set, written)
    assert scored.metrics["exact_answer"] == pytest.approx(1 / 4)
    assert scored.metrics["rouge_l"] == pytest.approx((1 + 2 / 3 + 1 + 0) / 4)
    assert scored.predictions[1].prediction == "hello you"
    assert scored.predictions[1].gold == ("Hello",)
    with pytest.raises(InfeasibleRunError, match="not finite"):
        KIND.score(task, eval_set, ResponseOutputs(losses * np.nan, tokens))


def test_cached_sets_tell_what_was_cut(
    task_of: Callable[..., TaskSettings],
    build_unit_of: Callable[..., Any],
    bytes_tokenizer: Any,
) -> None:
    rows = [{"instruction": f"Row {n}", "output": "r" * 40} for n in range(20)]
    sizes = {"train_rows": 6, "search_rows": 4, "max_length": 24}
    unit = build_unit_of(task_of(rows, prompt={"template": "{instruction}"}, **sizes))
    for _ in range(2):  # built, then read back
        data = load_task_data(unit, bytes_tokenizer, subset_seed=1)
        assert len(data.train) == 6
        assert (
            sum(" of 4 responses" in text or " of 6 responses" in text for text in data.messages)
            == 2
        )
        assert data.train_examples[0].line > 0


def test_a_tokenizer_knows_the_positions_of_its_model(tmp_path: Path) -> None:
    from tiny_models import write_tiny_decoder

    folder = write_tiny_decoder(tmp_path / "model")
    loaded = load_tokenizer(ModelSettings(source=str(folder)))
    assert loaded.model_max_length == 256
    assert loaded.pad_token == loaded.eos_token
