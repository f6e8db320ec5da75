"""Words of a text for measures of overlap; in scripts without blanks between words, characters.

Chinese, Japanese, Thai, Lao, Khmer and Burmese write no blanks between words: a pattern for words
takes a whole sentence for one, and texts that differ in a character share nothing. MLQA's official
script (arXiv 1910.07475) counts characters of Chinese for the same reason.
"""

import re
from unicodedata import category

#: First and last character of each block: Thai and Lao, Burmese, Khmer; Japanese kana with
#: Bopomofo; Chinese characters.
_BLOCKS = (
    (0x0E01, 0x0EFF),
    (0x1000, 0x109F),
    (0x1780, 0x17FF),
    (0xA9E0, 0xA9FF),
    (0xAA60, 0xAA7F),
    (0x3005, 0x3007),
    (0x3041, 0x312F),
    (0x31A0, 0x31BF),
    (0x31F0, 0x31FF),
    (0xFF66, 0xFF9F),
    (0x1B000, 0x1B16F),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)
#: The blocks before Chinese characters, which have no marks.
_WITH_MARKS = 11
_UNSPACED = "".join(f"{chr(first)}-{chr(last)}" for first, last in _BLOCKS)
_MARKS = "".join(
    chr(code)
    for first, last in _BLOCKS[:_WITH_MARKS]
    for code in range(first, last + 1)
    if category(chr(code)).startswith("M")
)
#: A letter of such a script, with the vowel signs and tone marks that stand on it.
_CHARACTER = rf"(?=[^\W\d])[{_UNSPACED}][{_MARKS}]*"
#: A letter or digit of any other script, or a digit of such a one.
_OTHER = rf"(?:[^\W_{_UNSPACED}]|\d)"
_WORD = re.compile(rf"{_CHARACTER}|{_OTHER}+")
_BLANK_SEPARATED = re.compile(rf"{_CHARACTER}|(?:(?!{_CHARACTER})\S)+")
#: scikit-learn's pattern of words of two characters or more, with characters where those are words.
VECTORIZER_PATTERN = rf"{_CHARACTER}|(?:[^\W{_UNSPACED}]|\d){{2,}}"


def find_words(text: str) -> list[str]:
    """Returns the runs of letters and digits, and each letter of a script without blanks."""
    return _WORD.findall(text)


def split_at_blanks(text: str) -> list[str]:
    """Returns what stands between blanks, and each letter of a script without blanks."""
    return text.split() if text.isascii() else _BLANK_SEPARATED.findall(text)
