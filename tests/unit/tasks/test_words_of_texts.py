"""Words: as ever where blanks divide them, characters where a script has none."""

import re

import numpy as np
import pytest

from phasewise.tasks.response_rules import score_rouge_l
from phasewise.tasks.squad_rules import score_answer
from phasewise.tasks.words import VECTORIZER_PATTERN, find_words, split_at_blanks


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("今天天气很好。", "今 天 天 气 很 好"),
        ("GPT-4はとても良い!", "GPT 4 は と て も 良 い"),
        ("コーヒー、時々", "コ ー ヒ ー 時 々"),
        ("ไม่ดี ๑๒๓", "ไ ม่ ดี ๑๒๓"),  # tone marks and vowels stay on their letter
        ("ខ្ញុំ", "ខ្ ញុំ"),
        ("한국어 문장", "한국어 문장"),  # Korean writes blanks
        ("the GUNMAN_x, 3.5", "the GUNMAN x 3 5"),
    ],
)
def test_a_character_is_a_word_where_no_blanks_are_written(text: str, words: str) -> None:
    assert find_words(text) == words.split()


@pytest.mark.parametrize("seed", range(20))
def test_other_scripts_have_the_words_they_had(seed: int) -> None:
    generator = np.random.default_rng(seed)
    blocks = [range(32, 0x250), range(0x370, 0xE00), range(0xAC00, 0xD7A4)]
    codes = [generator.choice(blocks[kind]) for kind in generator.integers(3, size=600)]
    text = "".join(" " if generator.random() < 0.2 else chr(code) for code in codes)
    assert find_words(text) == re.findall(r"[^\W_]+", text)
    assert split_at_blanks(text) == text.split()
    assert re.findall(VECTORIZER_PATTERN, text) == re.findall(r"\b\w\w+\b", text)


def test_the_baseline_reads_characters_too() -> None:
    assert re.findall(VECTORIZER_PATTERN, "a GPT很好 ok") == ["GPT", "很", "好", "ok"]


@pytest.mark.parametrize(
    ("said", "expected", "score"),
    [
        ("今天天气很好", "今天天气真好", 5 / 6),
        ("我昨天在北京", "昨天我在北京见他", 5 / 7),  # 昨天在北京, of 6 and 8
        ("東京はとても寒い", "京都はとても寒かった", 2 / 3),  # 京はとても寒, of 8 and 10
        ("GPT-4は良い", "GPT-4が良い", 4 / 5),
        ("อากาศไม่ดี", "อากาศดีมาก", 12 / 17),  # 6 of 8 and 9
        ("天气", "雨伞", 0),
    ],
)
def test_rouge_l_counts_characters(said: str, expected: str, score: float) -> None:
    """By hand, and as the rouge_score package has it for the characters with blanks between."""
    assert score_rouge_l(said, expected) == pytest.approx(score)


def test_overlap_of_answers_counts_characters() -> None:
    assert score_answer("在北京", ("北京",)) == pytest.approx((0, 4 / 5))
    assert score_answer("東京 Tower", ("東京 Tower.",)) == (1, 1)
