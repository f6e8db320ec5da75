"""Whatever a clone or an archive holds: no traceback, and nothing is written outside."""

import json
import tarfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutations import broken, mutated

from phasewise.errors import PhasewiseError, RecordError
from phasewise.merging import ResultPaths, carry_out, open_source, plan_merge
from phasewise.merging.listing import Entry, examine
from phasewise.merging.units import at
from phasewise.records import RECORD_FILE, read_record
from phasewise.report import collect_status
from phasewise.runs import hash_content
from phasewise.settings import Study
from synthetic import UnitWriter, make_config, make_record, write_baselines, write_ledger

TASK = "rotten_tomatoes"
fuzz = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture
def study(
    write_study: Callable[..., Study], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Study:
    """The clone that all is brought to."""
    monkeypatch.setenv("PHASEWISE_CACHE", str(tmp_path / "cache"))
    return write_study()


@pytest.fixture
def source(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another machine's clone."""
    root = tmp_path_factory.mktemp("vm1")
    moved = at(study, root)
    unit = UnitWriter(moved, TASK, "lora")
    unit.phase0([0.6, 0.61], [0.6, 0.61])
    unit.phase1([0.7, 0.72], confirm=[0.71])
    unit.phase2([0.7, 0.72])
    write_baselines(moved, TASK)
    write_ledger(moved, TASK, 2)
    unit.paths.storage.write_text('{"op_code": 0}\n')
    return root


def _record(study: Study) -> dict[str, Any]:
    record = make_record(make_config(study, TASK, "lora", "default-0"), 0.7, report_score=0.6)
    content: dict[str, Any] = record.model_dump(mode="json")
    return content


@fuzz
@given(data=st.data(), signed=st.booleans())
def test_a_record_of_other_values(study: Study, data: st.DataObject, signed: bool) -> None:
    """With a digest of its own, or with that of what it was."""
    whole = _record(study)
    content = data.draw(mutated(whole))
    digest = hash_content(content if signed else whole)
    text = json.dumps({**content, "digest": digest} if isinstance(content, dict) else content)
    folder = at(study, Path()).settings.experiments_path / TASK / "lora" / "phase0" / "default-0"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RECORD_FILE).write_text(text)
    with suppress(RecordError):
        read_record(folder)
    assert len(collect_status(study, [(TASK, "lora")])) == 1


@fuzz
@given(data=st.data())
def test_a_record_of_broken_bytes(study: Study, tmp_path: Path, data: st.DataObject) -> None:
    whole = json.dumps(_record(study)).encode()
    (tmp_path / RECORD_FILE).write_bytes(data.draw(broken(whole)))
    with suppress(RecordError):
        read_record(tmp_path)


def _merge(study: Study, place: Path) -> None:
    with suppress(PhasewiseError), ExitStack() as stack:
        opened = stack.enter_context(open_source(str(place), ResultPaths(study), most_bytes=10**7))
        plan = plan_merge(study, [opened])
        if not plan.problems:
            carry_out(study, plan, print)


def _outside(study: Study, *kept: Path) -> Iterator[tuple[str, bytes]]:
    """Every file but those that a merge may write."""
    own = {study.settings.experiments_path.resolve(), study.settings.analysis_path.resolve()}
    for root in kept:
        for file in sorted(root.rglob("*")):
            if file.is_file() and not own & set(file.resolve().parents):
                yield str(file), file.read_bytes()


@fuzz
@given(data=st.data())
def test_a_clone_with_a_broken_file(
    study: Study, source: Path, tmp_path: Path, data: st.DataObject
) -> None:
    files = sorted(file for file in source.rglob("*") if file.is_file())
    file = data.draw(st.sampled_from(files))
    whole = file.read_bytes()
    changed = broken(whole)
    if file.suffix == ".json":
        changed |= mutated(json.loads(whole)).map(lambda content: json.dumps(content).encode())
    try:
        file.write_bytes(data.draw(changed))
        before = dict(_outside(study, tmp_path, source))
        _merge(study, source)
        assert dict(_outside(study, tmp_path, source)) == before
    finally:
        file.write_bytes(whole)


@fuzz
@given(data=st.data())
def test_a_broken_archive(study: Study, source: Path, tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "vm1.tar"
    with tarfile.open(path, "w") as archive:
        archive.add(source, arcname=".")
    path.write_bytes(data.draw(broken(path.read_bytes())))
    before = dict(_outside(study, tmp_path, source))
    _merge(study, path)
    assert dict(_outside(study, tmp_path, source)) == before


_PARTS = st.sampled_from(
    ["experiments", "small", TASK, "lora", "phase0.json", "..", ".", "", "a\n"]
)
_PATHS = st.lists(_PARTS | st.text(max_size=5), max_size=6).map("/".join)
_ENTRIES = st.builds(
    Entry, _PATHS, st.sampled_from(["file", "folder", "link", "device"]), st.integers(0, 10**9)
)


@settings(fuzz, max_examples=200)
@given(entries=st.lists(_ENTRIES, max_size=8))
def test_what_is_taken_from_a_listing_stays_inside(study: Study, entries: list[Entry]) -> None:
    places = ResultPaths(study)
    found = examine(entries, places, most_bytes=10**9)
    for entry in found.files:
        path = PurePosixPath(entry.path)
        assert not path.is_absolute()
        assert ".." not in path.parts
        assert str(path).startswith(("experiments/small/", "analysis/small/"))
    assert sum(entry.size for entry in found.files) <= 10**9
