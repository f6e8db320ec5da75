"""The newcomer of docs/newcomer.py gets through, and types what the five-minute page shows."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "docs" / "newcomer.py"


def _commands(page: str) -> list[str]:
    blocks = re.findall(r"```console\n(.*?)```", page, re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]


@pytest.mark.slow
def test_a_newcomer_gets_through_and_ten_broken_things_end_in_a_line() -> None:
    done = subprocess.run(
        [sys.executable, SCRIPT, "--here"], capture_output=True, text=True, timeout=1800
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_the_five_minute_page_shows_what_the_newcomer_typed() -> None:
    typed = _commands((ROOT / "docs" / "newcomer.md").read_text(encoding="utf-8"))
    plain = {re.sub(r" --base-model \S+", "", command) for command in typed}
    shown = _commands((ROOT / "docs" / "start.md").read_text(encoding="utf-8"))
    assert len(shown) > 4
    # The wheel is installed, the newcomer's shell is in the folder, a server has tests of its own.
    apart = {"pip install .", "cd mine", "phasewise dashboard"}
    assert not [command for command in shown if command not in plain | apart]


def test_the_transcript_is_of_the_script_as_it_is() -> None:
    page, script = (ROOT / "docs" / "newcomer.md").read_text("utf-8"), SCRIPT.read_text("utf-8")
    headings = re.findall(r'one\.say\(\s*"((?:## |\d+\. )[^"\\]+)', script)
    assert len(headings) > 12
    assert not [heading for heading in headings if heading not in page]
    assert page.count("error: ") >= 8
    assert not re.search(r"/tmp/|/home/|/root/", page)
