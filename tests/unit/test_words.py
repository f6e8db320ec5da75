"""Names that were given up for the field's own stay away, and comments lean on nothing unseen."""

import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "shared" / "phasewise"
FILES = sorted(
    file for file in PACKAGE.rglob("*") if file.suffix in {".py", ".jinja", ".h", ".cpp"}
)

#: Retired word, as a regular expression, to the one in its place.
RETIRED = {
    r"foretell\w*": "predict",
    r"Judge|TrialBook": "TrialPruner, TrialStore",
    r"Hand|dealing": "WorkerLoad, assignment",
    r"Trunk|Bypass|take_tokens": "FusedEncoder, direct gradients, unpad",
    r"Updates|Room": "RunOptimizer, slots",
    r"class (?:Question|Line|Places|Asked|Held|Draws)": "what the class holds",
    r"UnpackedRunWarning|RunLeft": "TrainedAloneWarning, UnpackedRun",
    r"deal(?:s|t)?": "assign, split",
    r"winners?": "optimum",
    r"open_report_set": "open_report_data",
    r"\w*(?:[Cc]olour|[Ss]ummaris|[Tt]okenis|[Qq]uantis|[Oo]ptimis(?!m)|[Ii]nitialis)\w*": "-ize",
    r"FACTS|REQUIREMENTS|DESIGN(?!_RUNS|_FOLDER)|document 00\d": "the fact itself and its source",
}


@pytest.mark.parametrize("word", RETIRED)
def test_a_retired_word_stays_away(word: str) -> None:
    pattern = re.compile(rf"\b(?:{word})\b")
    found = [
        f"{file.relative_to(PACKAGE)}:{number}"
        for file in FILES
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1)
        if pattern.search(line)
    ]
    assert not found, f"say {RETIRED[word]}: {', '.join(found)}"
