"""Links and paths that the pages name are there; pages made from the code are up to date."""

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").rglob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_names_what_is_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = [page.parent / link for link in re.findall(r"\]\(([^)#:]+)\)", text)]
    paths = re.findall(r"`((?:shared|tests|docs|profiles|benchmarks|workflow)/[\w./-]*)`", text)
    named = [ROOT / re.sub(r"NAME.*", "", path) for path in paths]
    assert not [str(each) for each in links + named if not each.exists()]


def test_what_follows_from_the_code_is_up_to_date() -> None:
    files = runpy.run_path(str(ROOT / "docs" / "generate.py"))["generated_files"]()
    old = [path.name for path, text in files.items() if path.read_text(encoding="utf-8") != text]
    assert not old, "run `python docs/generate.py`"
