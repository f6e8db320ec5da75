"""Links and paths that the design pages name are there."""

import re
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
