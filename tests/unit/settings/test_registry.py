"""A project's own catalogue adds to what Phasewise brings, and comes first."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from phasewise.errors import ConfigError
from phasewise.settings import (
    REGISTRY,
    Study,
    find_registered,
    load_study,
    registry_names,
    require_registered,
)

OWN_TASK = """
kind: classification
source: {type: files, files: {train: train.csv}}
splits: {report: null, report_rows: 10}
text: [question]
label: target
labels: [billing, other]
metric: accuracy
"""


@pytest.fixture
def own_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The empty catalogue of a project, which is the current folder."""
    monkeypatch.chdir(tmp_path)
    for folder in ("tasks", "methods", "spaces", "studies"):
        (tmp_path / "shared" / folder).mkdir(parents=True)
    return tmp_path / "shared"


def test_own_entries_are_listed_beside_the_others(own_shared: Path) -> None:
    before = registry_names("tasks")
    (own_shared / "tasks" / "tickets.yaml").write_text(OWN_TASK)
    assert set(registry_names("tasks")) == {*before, "tickets"}


def test_an_own_task_is_found_with_its_files(
    own_shared: Path, write_study: Callable[..., Study], study_content: dict[str, Any]
) -> None:
    (own_shared / "tasks" / "tickets.yaml").write_text(OWN_TASK)
    task = write_study(tasks={"tickets": {}}).tasks["tickets"]
    assert task.source.files == {"train": own_shared / "tasks" / "train.csv"}


def test_an_own_entry_comes_before_one_of_the_same_name(
    own_shared: Path, write_study: Callable[..., Study]
) -> None:
    text = (REGISTRY / "methods" / "lora.yaml").read_text()
    assert find_registered("methods", "lora") == REGISTRY / "methods" / "lora.yaml"
    own = re.sub("(?m)^description: .*", "description: our own", text)
    (own_shared / "methods" / "lora.yaml").write_text(own)
    assert write_study().methods["lora"].description == "our own"


def test_what_neither_has_is_refused_with_the_nearest_name(own_shared: Path) -> None:
    (own_shared / "spaces" / "narrow.yaml").write_text("shared: {}\n")
    with pytest.raises(ConfigError, match=r"no file narow.yaml in shared/spaces/; .*'narrow'"):
        require_registered("spaces", "narow")


def test_a_study_is_named_without_its_path(own_shared: Path) -> None:
    (own_shared.parent / "demo").mkdir()  # a clone has such links to its profiles
    assert load_study("demo").settings.name == "demo"
    with pytest.raises(ConfigError, match=r"^dema: no such settings file, nor .*'demo'"):
        load_study("dema")
    with pytest.raises(ConfigError, match=r"^dema.yaml: no such settings file$"):
        load_study("dema.yaml")
