"""What holds for every chat template: one prompt everywhere, one start token, loss where it ought.

The templates are shortened from the models' own tokenizer_config.json.
"""

import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from tokenizers.processors import TemplateProcessing

from phasewise.errors import ConfigError
from phasewise.inference.inputs import read_inputs
from phasewise.inference.loading import load_model, read_model_folder
from phasewise.inference.prompts import answer_suite, read_suite
from phasewise.provenance import fingerprint_data
from phasewise.runs import DataConfig
from phasewise.settings import FilesSource, PromptSettings, TaskSettings
from phasewise.tasks.data import load_task_data
from phasewise.tasks.examples import Example, Feature, ResponseOutputs
from phasewise.tasks.instruction import IGNORED, Instruction
from tiny_models import write_byte_tokenizer, write_tiny_decoder

KIND = Instruction()
END = "<|end|>"


class Form(NamedTuple):
    """A template, and what it makes of "How are you?" and "Fine."; start and end tokens aside."""

    prompt: str
    response: str
    template: str | None = None
    """None: ``chat`` names one of ours, or none."""
    chat: Any = "model"


_LLAMA_3 = """{{- bos_token }}
{%- if not date_string is defined %}
    {%- set date_string = strftime_now("%d %b %Y") %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\n\nToday Date: " + date_string + "<|eot_id|>" }}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' }}
    {{- message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}
{%- endif %}"""
_QWEN_3 = """{%- for message in messages %}
    {%- if message.role == "user" %}
        {{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}
    {%- else %}
        {%- set content, thoughts = message.content, '' %}
        {%- if '</think>' in content %}
            {%- set thoughts = content.split('</think>')[0].split('<think>')[-1].strip('\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\n') %}
        {%- endif %}
        {{- '<|im_start|>assistant\n<think>\n' + thoughts + '\n</think>\n\n' + content }}
        {{- '<|im_end|>\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\n\n</think>\n\n' }}
    {%- endif %}
{%- endif %}"""
_GEMMA = """{{ bos_token }}{% for message in messages %}
{% set role = 'model' if message['role'] == 'assistant' else message['role'] %}
{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}
{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"""
_MISTRAL = """{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}
{{ '[INST] ' + message['content'] + ' [/INST]' }}{% else %}
{{ ' ' + message['content'] + eos_token }}{% endif %}{% endfor %}"""
_ZEPHYR = """{% for message in messages %}
{{ '<|' + message['role'] + '|>\n' + message['content'] + eos_token }}
{% if loop.last and add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}{% endfor %}"""
#: Knows no generation prompt.
_HEADERS = "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}{{ eos_token }}\n{% endfor %}"
#: Writes empty thoughts, and cannot be told not to.
_THINKS = (
    "{% for m in messages %}{{ m.role }}: {% if m.role == 'assistant' %}<think></think>"
    "{% endif %}{{ m.content }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
_ENDS = "{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}"
_CHATML = "<|im_start|>user\nHow are you?<|im_end|>\n<|im_start|>assistant\n"

FORMS = {
    "llama 3": Form(
        "<|start_header_id|>system<|end_header_id|>\n\nToday Date: 26 Jul 2024<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nHow are you?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        "Fine.<|eot_id|>",
        _LLAMA_3,
    ),
    "qwen 3": Form(_CHATML + "<think>\n\n</think>\n\n", "Fine.<|im_end|>", _QWEN_3),
    "gemma": Form(
        "<start_of_turn>user\nHow are you?<end_of_turn>\n<start_of_turn>model\n",
        "Fine.<end_of_turn>",
        _GEMMA,
    ),
    "mistral, its own": Form("[INST] How are you? [/INST]", " Fine.", _MISTRAL),
    "zephyr, its own": Form(f"<|user|>\nHow are you?{END}\n<|assistant|>\n", "Fine.", _ZEPHYR),
    "headers only": Form(f"<|user|>\nHow are you?{END}\n<|assistant|>\n", "Fine.", _HEADERS),
    "empty thoughts": Form(f"user: How are you?{END}assistant: <think></think>", "Fine.", _THINKS),
    "ends only": Form(f"How are you?{END}", "Fine.", _ENDS),
    "chatml": Form(_CHATML, "Fine.<|im_end|>", chat="chatml"),
    "mistral": Form("[INST] How are you? [/INST]", " Fine.", chat="mistral"),
    "zephyr": Form(f"<|user|>\nHow are you?{END}\n<|assistant|>\n", "Fine.", chat="zephyr"),
    "none": Form("How are you?", "Fine.", chat="none"),
}


def prepend_start(tokenizer: Any, *, and_end: bool = False) -> Any:
    """Makes a tokenizer start every text with ``<s>``, as Llama's does; perhaps end it too."""
    tokenizer.add_special_tokens({"bos_token": "<s>"})
    ids = [(token, tokenizer.convert_tokens_to_ids(token)) for token in ("<s>", END)]
    single = f"<s> $A {END}" if and_end else "<s> $A"
    processor = TemplateProcessing(single=single, special_tokens=ids)
    tokenizer.backend_tokenizer.post_processor = processor
    return tokenizer


def build_task(chat: str = "none", **changes: Any) -> TaskSettings:
    return TaskSettings(
        name="talk",
        kind="instruction",
        source=FilesSource(files={}),
        prompt=PromptSettings(template="{question}", chat=chat, **changes),
        response="answer",
        metric="eval_loss",
        max_length=512,
    )


def prompt_of(feature: Feature) -> list[int]:
    return list(feature["input_ids"][feature["labels"] == IGNORED])


@pytest.fixture
def tokenizer(tmp_path: Path) -> Any:
    written = write_byte_tokenizer(tmp_path / "tokenizer")
    written.pad_token, written.model_max_length = written.eos_token, 512
    return written


@pytest.mark.parametrize("starts", ["no start token", "start", "start and end"])
@pytest.mark.parametrize("name", FORMS)
def test_prompt_and_response_are_the_templates(
    tokenizer: Any, tmp_path: Path, name: str, starts: str
) -> None:
    form, start = FORMS[name], ""
    if starts != "no start token":
        prepend_start(tokenizer, and_end=starts == "start and end")
        start = "<s>"
    tokenizer.chat_template = form.template
    task = build_task(form.chat)
    rows = [Example(id="1", texts=("", "How are you?", "Fine."))]
    (feature,) = KIND.tokenize_train(rows, tokenizer, task)
    prompt = prompt_of(feature)
    text = tokenizer.decode(prompt)
    assert text == start + form.prompt
    assert text.count("<s>") == len(start) / 3
    targets = feature["labels"] != IGNORED
    assert tokenizer.decode(feature["input_ids"][targets]) == form.response + END
    assert feature["input_ids"][-1] == tokenizer.eos_token_id, "to end is learned"
    np.testing.assert_array_equal(np.flatnonzero(~targets), np.arange(len(prompt)))

    (scored,) = KIND.tokenize_eval(rows, tokenizer, task).features
    np.testing.assert_array_equal(scored["input_ids"], feature["input_ids"])
    (tmp_path / "ask.jsonl").write_text('{"question": "How are you?"}\n')
    asked = read_inputs(tmp_path / "ask.jsonl", task, id_column=None).examples
    assert prompt_of(KIND.tokenize_eval(asked, tokenizer, task).features[0]) == prompt


@pytest.mark.parametrize("name", FORMS)
def test_a_prompt_does_not_depend_on_its_response(tokenizer: Any, name: str) -> None:
    form = FORMS[name]
    tokenizer.chat_template = form.template
    responses = ["", "Fine.", " F", "think", "assistant", "<", "\n\n1. One\n", "<think></think>No"]
    rows = [Example(id="1", texts=("", "How are you?", each)) for each in responses]
    features = KIND.tokenize_train(rows, tokenizer, build_task(form.chat))
    assert {tuple(prompt_of(each)) for each in features} == {tuple(prompt_of(features[0]))}


def test_a_prompt_that_is_cut_keeps_its_start(tokenizer: Any) -> None:
    prepend_start(tokenizer)
    task = build_task("chatml").model_copy(update={"max_length": 12})
    rows = [Example(id="1", texts=("", "Hello", "Yes"))]
    (feature,) = KIND.tokenize_train(rows, tokenizer, task)
    assert tokenizer.decode(feature["input_ids"]) == "<s>sistant\nYes"
    assert len(feature["input_ids"]) == 12


def test_a_first_word_is_written_as_in_the_whole_text(tokenizer: Any) -> None:
    """As Llama 2's tokenizer does: it writes a blank before each text."""
    from tokenizers import normalizers

    tokenizer.backend_tokenizer.normalizer = normalizers.Prepend("_")
    (feature,) = KIND.tokenize_train(
        [Example(id="1", texts=("", "Hi", "Yes"))], tokenizer, build_task("mistral")
    )
    assert tokenizer.decode(feature["input_ids"]) == f"_[INST] Hi [/INST] Yes{END}"


def test_the_date_is_the_tasks_and_not_todays(
    tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer.chat_template = _LLAMA_3
    rows = [Example(id="1", texts=("", "Hi", "Yes"))]

    def write(task: TaskSettings) -> str:
        return str(tokenizer.decode(KIND.tokenize_train(rows, tokenizer, task)[0]["input_ids"]))

    class Tomorrow(datetime.datetime):
        @classmethod
        def now(cls, tz: Any = None) -> "Tomorrow":
            return cls(2031, 5, 6)

    before = write(build_task("model"))
    monkeypatch.setattr("transformers.utils.chat_template_utils.datetime", Tomorrow)
    assert "06 May 2031" in tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}], tokenize=False
    ), "the day has gone by"
    assert write(build_task("model")) == before
    assert "Today Date: 09 Feb 2025<" in write(build_task("model", date="2025-02-09"))


@pytest.mark.parametrize("form", ["%d %b %Y", "%A, %-d. %B %y", "%Y-%m-%dT%H:%M:%S", "%j%%"])
def test_a_fixed_date_is_written_as_strftime_writes_it(tokenizer: Any, form: str) -> None:
    tokenizer.chat_template = f"\n{{{{ strftime_now('{form}') }}}}\n"
    rows = [Example(id="1", texts=("", "Hi", "Yes"))]
    task = build_task("model", date="2025-02-09")
    (feature,) = KIND.tokenize_train(rows, tokenizer, task)
    said = datetime.datetime(2025, 2, 9).strftime(form)
    assert tokenizer.decode(prompt_of(feature)).strip("\n") == said


def test_thoughts_are_learned_only_where_they_are_announced(tokenizer: Any) -> None:
    tokenizer.chat_template = _QWEN_3
    rows = [Example(id="1", texts=("", "How are you?", "<think>\nHm\n</think>\n\nFine."))]
    with pytest.raises(ConfigError, match=r"task 'talk': .* expected prompt\.thinking: true"):
        KIND.tokenize_train(rows, tokenizer, build_task("model"))
    for template in (_QWEN_3, _THINKS.replace("think></think", "think>\n\n</think")):
        tokenizer.chat_template = template
        task = build_task("model", thinking=True)
        asked = KIND.tokenize_train([Example(id="1", texts=("", "Hi", ""))], tokenizer, task)
        assert "<think>" not in tokenizer.decode(prompt_of(asked[0]))
    tokenizer.chat_template = _QWEN_3
    (feature,) = KIND.tokenize_train(rows, tokenizer, task)
    assert tokenizer.decode(prompt_of(feature)) == _CHATML
    spoken = feature["input_ids"][feature["labels"] != IGNORED]
    assert tokenizer.decode(spoken) == f"<think>\nHm\n</think>\n\nFine.<|im_end|>{END}"


def test_empty_thoughts_are_not_scored(tokenizer: Any) -> None:
    generation = {"report_metrics": ["rouge_l"]}
    task = TaskSettings.model_validate({**build_task().model_dump(), "generation": generation})
    rows = [Example(id="1", texts=("", "Hi", "I am fine"))]
    eval_set = KIND.tokenize_eval(rows, tokenizer, task)
    outputs = ResponseOutputs(np.ones(1), np.ones(1), ("<think>\n\n</think>\n\nI am fine",))
    assert KIND.score(task, eval_set, outputs).metrics["rouge_l"] == 1


@pytest.mark.parametrize(("template", "times"), [(_QWEN_3, 1), (_THINKS, 1), (_ZEPHYR, 0)])
def test_empty_thoughts_of_a_template_are_told_once(
    tokenizer: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    template: str,
    times: int,
) -> None:
    tokenizer.chat_template = template
    rows = "".join(f'{{"question": "{n}?", "answer": "{n}"}}\n' for n in range(20))
    (tmp_path / "train.jsonl").write_text(rows)
    task = TaskSettings.model_validate(
        {
            **build_task("model").model_dump(),
            "source": {"type": "files", "files": {"train": tmp_path / "train.jsonl"}},
            "splits": {"report": None, "report_rows": 2},
            "train_rows": 6,
            "search_rows": 4,
        }
    )
    monkeypatch.setenv("PHASEWISE_CACHE", str(tmp_path / "cache"))
    unit = DataConfig(
        task=task, split_seed=0, data_dir=None, data_fingerprint=fingerprint_data(task, None)
    )
    for _ in range(2):  # built, then read back
        messages = load_task_data(unit, tokenizer, subset_seed=1).messages
        assert sum("every prompt ends in" in text for text in messages) == times


def test_the_prompt_suite_asks_as_training_does(tmp_path: Path) -> None:
    model = load_model(read_model_folder(write_tiny_decoder(tmp_path / "llama")), "cpu")
    suite = tmp_path / "one.yaml"
    suite.write_text(
        "max_new_tokens: 1\nprompts: [{name: a, category: b, prompt: 'How are you?'}]\n"
    )
    for name in ("zephyr, its own", "qwen 3", "llama 3"):
        form = FORMS[name]
        model.tokenizer.chat_template = form.template
        rows = [Example(id="1", texts=("", "How are you?", "Fine."))]
        task = build_task(form.chat).model_copy(update={"max_length": 256})
        (feature,) = KIND.tokenize_train(rows, model.tokenizer, task)
        (answer,) = answer_suite(model, read_suite(suite))
        assert answer.prompt_tokens == len(prompt_of(feature))
