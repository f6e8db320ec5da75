from collections.abc import Callable
from pathlib import Path

import pytest

from phasewise.errors import DataError
from phasewise.provenance import fingerprint_data
from phasewise.settings import TaskSettings
from phasewise.tasks import data
from phasewise.tasks.files import read_file

#: A quote opens in the second row and closes in the fourth: as syntax it would swallow a row.
QUOTES = 'text\tlabel\nfine\t1\n"I hated it\t0\nloved it\t1\na mess"\t0\n"all of it"\t1\n'


def test_a_quote_in_a_tsv_is_text(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text(QUOTES)
    table = read_file(tmp_path / "a.tsv")
    texts = [row["text"] for row in table.rows]
    assert texts == ["fine", '"I hated it', "loved it", 'a mess"', '"all of it"']
    assert [row["label"] for row in table.rows] == list("10101")
    assert list(table.numbers) == [2, 3, 4, 5, 6]


def test_glues_own_form_of_pairs_is_read(tmp_path: Path) -> None:
    header = "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\r\n"
    row = '1\t7\t8\tHe said " no .\tCalled " the witness " , he left .\r\n'
    (tmp_path / "a.tsv").write_bytes((header + row).encode())
    assert read_file(tmp_path / "a.tsv").rows == [
        {
            "Quality": "1",
            "#1 ID": "7",
            "#2 ID": "8",
            "#1 String": 'He said " no .',
            "#2 String": 'Called " the witness " , he left .',
        }
    ]


@pytest.mark.parametrize(("ending", "delimiter"), [(".csv", ","), (".tsv", "\t")])
@pytest.mark.parametrize("quoted", [True, False])
def test_a_key_of_the_source_decides(
    quoted: bool,
    ending: str,
    delimiter: str,
    classification_task: Callable[..., TaskSettings],
    tmp_path: Path,
) -> None:
    rows = [f'"film {n}"{delimiter}{n % 2}' for n in range(60)]
    for split in ("train", "dev"):
        lines = [f"text{delimiter}label", *(row.replace("film", split) for row in rows)]
        (tmp_path / f"{split}{ending}").write_text("\n".join(lines))
    files = {split: str(tmp_path / f"{split}{ending}") for split in ("train", "dev")}
    source = {"type": "files", "files": files}
    task = classification_task(source={**source, "quoted": quoted})
    found = {example.texts[0][0] for example in data.check_task_data(task, None).train}
    assert found == ({"t"} if quoted else {'"'})
    default = fingerprint_data(classification_task(source=source), None)
    same = quoted == (ending == ".csv")  # what the ending says anyway
    assert (fingerprint_data(task, None) == default) == same, "other rows are other data"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('"text"\t"label"\n"a"\t"1"\n', 'line 1: "text" stands in quotes.*`quoted: true`'),
        ('text\tlabel\n"two\nlines"\t1\n', "line 2: expected 2 cells .*`quoted: true`"),
    ],
)
def test_a_tsv_with_quotes_as_syntax_is_refused(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text(content)
    with pytest.raises(DataError, match=message):
        read_file(tmp_path / "a.tsv")
    read_file(tmp_path / "a.tsv", quoted=True)
