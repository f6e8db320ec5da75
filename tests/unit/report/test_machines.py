"""Whose runs a report rests on, and what differs between them beside the method."""

from collections.abc import Callable

import pytest
from typer.testing import CliRunner

from phasewise.cli.app import app
from phasewise.merging.manifest import describe_source, manifest_path, note_source
from phasewise.records import RECORD_FILE, read_record, write_record
from phasewise.report import build_report, collect_status
from phasewise.runs import UnitPaths
from phasewise.settings import Study
from synthetic import UnitWriter

TASK = "rotten_tomatoes"
UNITS = [(TASK, "full_finetune"), (TASK, "lora")]
Writer = Callable[..., Study]


def _run(study: Study, method: str, **environment: str) -> None:
    """Phase 2 of a unit on a machine."""
    writer = UnitWriter(study, TASK, method)
    writer.phase1([0.6, 0.7])
    writer.phase2([0.7, 0.72])
    for file in writer.paths.root.rglob(RECORD_FILE):
        record = read_record(file.parent)
        assert record is not None
        changed = {**record.environment, **environment}
        write_record(file.parent, record.model_copy(update={"environment": changed}))


def _note(study: Study, method: str, source: str) -> None:
    files = UnitPaths(study, TASK, method).root.rglob(RECORD_FILE)
    records = [record for file in files if (record := read_record(file.parent))]
    note_source(study, describe_source(TASK, method, source, records))


def _read(study: Study) -> tuple[str, str]:
    page = build_report(study, UNITS)
    return page.with_name("RESULTS.md").read_text("utf-8"), page.read_text("utf-8")


@pytest.mark.parametrize(
    ("name", "values"), [("torch", ("2.13.0", "2.12.0")), ("device", ("cpu", "NVIDIA H200"))]
)
def test_what_differs_between_methods_is_read_first(
    write_study: Writer, name: str, values: tuple[str, str]
) -> None:
    study = write_study()
    for method, value in zip(("full_finetune", "lora"), values, strict=True):
        _run(study, method, **{name: value})
    results, page = _read(study)
    first = results.split("## Read this first")[1].split("## Verdict")[0]
    words = (
        f"differ in {name}, not only in their method: full_finetune {values[0]}; lora {values[1]}"
    )
    assert words in first
    assert words in page


def test_equal_versions_and_devices_are_no_warning(write_study: Writer) -> None:
    study = write_study()
    for method in ("full_finetune", "lora"):
        _run(study, method, device="cpu", host=f"vm-{method}")
    assert "not only in their method" not in _read(study)[0]


def test_the_report_says_whose_each_unit_is(write_study: Writer) -> None:
    study = write_study()
    _run(study, "full_finetune", host="office")
    _run(study, "lora", host="vm1")
    assert "## Machines" not in _read(study)[0]  # hosts are shown where several machines took part
    _note(study, "lora", "me@vm1:clone")
    results, page = _read(study)
    rows = results.split("## Machines")[1].split("## Report-set")[0]
    assert "| office | – | abcdef123456 | torch 2.13.0 |" in rows
    assert "| vm1 | – | abcdef123456 | torch 2.13.0 | 2026-01-01T10:00:00 |" in rows
    assert rows.count("me@vm1:clone |") == 1
    assert "me@vm1:clone" in page


def test_a_broken_manifest_stops_nothing(write_study: Writer) -> None:
    study = write_study()
    _run(study, "lora")
    _note(study, "lora", "me@vm1:clone")
    manifest_path(study).write_text("{", "utf-8")
    assert "## Machines" not in _read(study)[0]
    assert collect_status(study, UNITS)[1].seeds_done == 2


def test_status_names_what_is_stale_and_whose_it_is(write_study: Writer) -> None:
    _run(write_study(), "lora", host="vm1")
    study = write_study(training={"max_grad_norm": 0.5})
    (status,) = collect_status(study, [(TASK, "lora")])
    assert status.hosts == ()
    assert status.stale == (
        f"{TASK}/lora: stale: 4 runs of other settings, by vm1: trial-000, trial-001, seed-00, "
        "seed-01",
        f"{TASK}/lora: stale: {TASK}_lora_optimal.yaml is of other settings; run: phasewise "
        f"search --study {study.path} --task {TASK} --method lora",
        f"{TASK}/lora: stale: phase2.json is of other settings; run: phasewise validate --study "
        f"{study.path} --task {TASK} --method lora",
    )


def test_status_names_what_was_brought_too_early(write_study: Writer) -> None:
    study = write_study()
    UnitWriter(study, TASK, "lora").phase1([0.6, 0.7], final=False)
    _note(study, "lora", "me@vm1:clone")
    done = CliRunner().invoke(app, ["status", "--study", str(study.path)])
    words = f"{TASK}/lora: stale: brought from me@vm1:clone (laptop) at "
    assert words in done.output
    assert f"laptop ran {TASK}/lora" in done.output


def test_status_needs_neither_data_nor_model(
    write_study: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = write_study()
    _run(study, "lora", host="vm1")
    monkeypatch.setattr("phasewise.unit_runs.PresentUnit.built", None)
    (status,) = collect_status(study, [(TASK, "lora")])
    assert (status.phase, status.hosts, status.stale) == ("done", ("vm1",), ())
