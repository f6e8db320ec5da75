"""Every command that the documentation and README.md show is one that the program takes."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from phasewise.cli.app import app

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES += sorted((ROOT / "docs" / "tutorials").glob("*.md"))
GROUP: Any = typer.main.get_command(app)
#: Words after which a line of a shell is another command.
ENDS = ("&&", "||", "|", ";", ">")


def read_commands(text: str) -> Iterator[list[str]]:
    """Yields the words of each ``phasewise …`` in fenced blocks, and in code within a line."""
    blocks = re.findall(r"```(bash|console)\n(.*?)```", text, re.DOTALL)
    lines = [
        line
        for kind, block in blocks
        for line in block.replace("\\\n", " ").splitlines()
        if kind == "bash" or line.startswith("$ ")  # what follows a prompt's line is output
    ]
    lines += re.findall(r"`(phasewise [^`\n]+)`", text)
    for line in lines:
        words = shlex.split(line.removeprefix("$ "), comments=True)
        while "phasewise" in words:
            words = words[words.index("phasewise") + 1 :]
            end = next((i for i, word in enumerate(words) if word in ENDS), len(words))
            if words[:end]:
                yield words[:end]
            words = words[end:]


def check_command(words: list[str]) -> None:
    """Fails where a command or an option of it does not exist, or lacks a needed one."""
    name, *rest = words
    if name.isupper() or name.startswith("-"):
        return
    assert name in GROUP.commands, f"no command {name}"
    command = GROUP.commands[name]
    options = {each: p for p in command.params for each in (*p.opts, *p.secondary_opts)}
    given = {word.partition("=")[0] for word in rest if re.match(r"--?[a-z]", word)}
    if command.context_settings.get("ignore_unknown_options"):
        return
    assert given <= {*options, "--help"}, f"{name}: no option {given - set(options)}"
    needed = [p for p in command.params if p.required and p.param_type_name == "option"]
    missing = [p.opts[0] for p in needed if rest and not given & set(p.opts)]
    assert not missing, f"{' '.join(words)}: lacks {missing}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_of_a_page_exist_with_their_options(page: Path) -> None:
    for words in read_commands(page.read_text(encoding="utf-8")):
        check_command(words)


def test_pages_show_commands_at_all() -> None:
    found = [words[0] for page in PAGES for words in read_commands(page.read_text())]
    assert len(found) > 60
    assert {"init", "run", "check", "predict", "preset", "ablate", "merge"} <= set(found)


@pytest.mark.parametrize(
    "line", ["phasewise serch", "phasewise check --studdy a", "phasewise train --all-data"]
)
def test_a_wrong_command_is_seen(line: str) -> None:
    (words,) = read_commands(f"```console\n$ {line}\n```")
    with pytest.raises(AssertionError):
        check_command(words)


def test_named_tests_are_there() -> None:
    code = "\n".join(file.read_text() for file in (ROOT / "tests").rglob("test_*.py"))
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs" / "migrate.md").read_text()))
    assert len(named) > 25
    assert not [name for name in named if f"def {name}(" not in code]


def test_every_row_names_a_test_or_says_none() -> None:
    rows = re.findall(r"^\| (?!before|---)(.*) \|$", (ROOT / "docs/migrate.md").read_text(), re.M)
    assert len(rows) > 35
    assert not [row for row in rows if not re.search(r"`test_\w+`|none", row.rpartition(" | ")[2])]


def test_messages_are_those_of_the_program() -> None:
    text = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    code = "".join(file.read_text() for file in (ROOT / "shared/phasewise").rglob("*.py"))
    cells = re.findall(r"^\| (`.*?`) \|", text, re.MULTILINE)
    others = ("Directory cannot be locked", "profile directory given")  # Snakemake's own
    parts = [p.strip("';? ") for cell in cells for p in re.split(r"…|NAME", cell.strip("`"))]
    ours = [p for p in parts if len(p) > 5 and not p.startswith(others)]
    assert len(ours) >= 6
    assert not [part for part in ours if part not in code]
