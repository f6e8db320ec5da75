"""What two machines have run comes together in a third clone, once and with its times."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from clones import TASK, Clone, snapshot
from typer.testing import Result

from phasewise.merging import read_manifest
from phasewise.records import read_record, write_record
from phasewise.report import build_report, collect_status
from phasewise.runs import ledger_path
from phasewise.settings import Study
from phasewise.tasks.ledger import read_ledger

Merge = Callable[..., Result]
MakeClone = Callable[[str], Clone]
UNITS = [(TASK, "full_finetune"), (TASK, "lora")]


def _phases(study: Study) -> list[str]:
    return [unit.phase for unit in collect_status(study, UNITS)]


def test_two_machines_results_come_together(study: Study, clone: MakeClone, merge: Merge) -> None:
    done = merge(clone("vm1").run("lora").root, clone("vm2").run("full_finetune").root)
    assert done.exit_code == 0, done.output
    assert f"{TASK}/lora: new, " in done.output
    assert "missing" not in done.output
    assert _phases(study) == ["done", "done"]
    page = build_report(study, UNITS, figures="none")
    assert "no finding yet" not in page.with_name("RESULTS.md").read_text()


def _locks(*names: str) -> set[str]:
    return {f"experiments/small/{TASK}/lora/{name}" for name in names}


def test_every_file_comes_with_its_content_and_its_time(clone: MakeClone, merge: Merge) -> None:
    source = clone("vm1").run("lora")
    os.utime(source.unit("lora") / "phase2.json", ns=(10**18, 10**18 + 7))
    before = snapshot(source.root)
    assert merge(source.root).exit_code == 0
    assert snapshot(source.root) == before
    after = snapshot()
    assert before.items() <= after.items()
    own = {"study.yaml", "experiments/small/study.json", "analysis/small/sources.json"}
    assert set(after) - set(before) == own | _locks("controller.lock", "controller.1.lock")


def test_a_second_call_changes_nothing(clone: MakeClone, merge: Merge) -> None:
    source = clone("vm1").run("lora")
    merge(source.root)
    before = snapshot()
    done = merge(source.root)
    assert f"{TASK}/lora: same" in done.output
    assert before.keys() == snapshot().keys()
    changed = {name for name, found in snapshot().items() if before[name] != found}
    assert changed <= _locks("controller.lock")  # it holds the process that last had it


@pytest.mark.parametrize("at_file", [1, 3, 8, 15])
def test_a_merge_that_was_cut_off_is_continued(
    study: Study, clone: MakeClone, merge: Merge, monkeypatch: pytest.MonkeyPatch, at_file: int
) -> None:
    source = clone("vm1").run("lora")
    calls = iter(range(100))
    replace = os.replace

    def stop(*paths: str) -> None:
        if next(calls) == at_file:
            raise KeyboardInterrupt
        replace(*paths)

    with monkeypatch.context() as patched:
        patched.setattr("phasewise.merging.copying.os.replace", stop)
        assert merge(source.root).exit_code == 130
    unit = Path(f"experiments/small/{TASK}/lora")
    assert not (unit / "phase2.json").exists()
    assert not list(Path("experiments").rglob(".*"))
    assert merge(source.root).exit_code == 0
    assert snapshot(source.root).items() <= snapshot().items()
    assert [unit.unit for unit in read_manifest(study).units] == [f"{TASK}/lora"]


def test_a_unit_that_went_on_is_brought_up_to_date(
    study: Study, clone: MakeClone, merge: Merge
) -> None:
    source = clone("vm1").run("lora", phases=2)
    journal = source.unit("lora") / "phase1" / "journal.log"
    journal.write_text('{"op_code": 0}\n{"op_co')
    done = merge(source.root)
    assert f"not finished: {TASK}/lora" in done.output
    assert f"missing: {TASK}/full_finetune" in done.output
    source.run("lora")
    journal.write_text('{"op_code": 0}\n{"op_code": 1}\n')
    assert f"{TASK}/lora: updated" in merge(source.root).output
    assert _phases(study) == ["waiting", "done"]
    after = snapshot()
    assert all(after[name][0] == content for name, (content, _) in snapshot(source.root).items())


def test_an_older_copy_takes_nothing_back(study: Study, clone: MakeClone, merge: Merge) -> None:
    early, late = clone("early").run("lora", phases=2), clone("late").run("lora")
    for each in (early, late):
        each.note("host", "vm1")
    assert merge(early.root, late.root).exit_code == 0
    assert _phases(study) == ["waiting", "done"]
    assert f"{TASK}/lora: older" in merge(early.root).output
    assert _phases(study) == ["waiting", "done"]


def test_a_run_that_failed_and_was_tried_again_is_no_conflict(
    clone: MakeClone, merge: Merge
) -> None:
    source = clone("vm1").run("lora", phases=2)
    folder = source.unit("lora") / "phase1" / "trial-002"
    good = read_record(folder)
    assert good is not None
    write_record(folder, good.model_copy(update={"status": "failed", "search_metrics": {}}))
    assert merge(source.root).exit_code == 0
    (folder / "record.json").rename(folder / "record.failed-1.json")
    write_record(folder, good)
    assert f"{TASK}/lora: updated" in merge(source.root).output
    assert snapshot(source.root).items() <= snapshot().items()


def test_ledgers_of_one_task_are_joined(study: Study, clone: MakeClone, merge: Merge) -> None:
    sources = [clone("vm1").run("lora"), clone("vm2").run("full_finetune")]
    for index, source in enumerate(sources):
        ledger = ledger_path(source.study, TASK)
        entry = {"time": f"2026-01-0{5 - index}", "host": source.host, "run": "seed-00"}
        ledger.write_text((json.dumps(entry) + "\n") * 2)
    for _ in range(2):
        merge(*(source.root for source in sources))
        hosts = [entry["host"] for entry in read_ledger(ledger_path(study, TASK))]
        assert hosts == ["vm2", "vm2", "vm1", "vm1"]


def test_the_manifest_says_who_ran_what_and_when(
    study: Study, clone: MakeClone, merge: Merge
) -> None:
    source = clone("vm1").run("lora").note("device", "cuda: H200").note("engine", "packed")
    merge(source.root)
    (entry,) = read_manifest(study).units
    assert (entry.unit, entry.source) == (f"{TASK}/lora", str(source.root))
    assert (entry.hosts, entry.commits) == (("vm1",), ("abcdef123456",))
    assert (entry.versions, entry.devices) == ({"torch": ("2.13.0",)}, ("cuda: H200",))
    assert (entry.first, entry.last) == ("2026-01-01T10:00:00+00:00", "2026-01-01T10:00:13+00:00")
    assert entry.runs == len(list(source.unit("lora").rglob("record.json")))


def test_a_dry_run_writes_nothing(clone: MakeClone, merge: Merge) -> None:
    before = snapshot()
    done = merge(clone("vm1").run("lora").root, dry_run=True)
    assert done.exit_code == 0
    assert f"{TASK}/lora: new" in done.output
    assert snapshot() == before


def test_what_is_a_machines_own_stays_there(clone: MakeClone, merge: Merge) -> None:
    source = clone("vm1").run("lora")
    unit = source.unit("lora")
    own = [
        "controller.lock",
        "workers.log",
        ".record.json.x",
        "phase1.old-0123/trial-000/x.json",
        "phase1/trial-000/live.jsonl",
    ]
    for name in own:
        (unit / name).parent.mkdir(parents=True, exist_ok=True)
        (unit / name).write_text("own")
    wandb = unit.parents[1] / "wandb"
    wandb.mkdir()
    (wandb / "latest-run").symlink_to("/etc")
    (unit / "phase1" / "journal.log.lock").symlink_to("journal.log")
    assert merge(source.root).exit_code == 0
    found = Path(f"experiments/small/{TASK}/lora")
    assert not [name for name in own[1:] if (found / name).exists()]
    assert "own" not in (found / "controller.lock").read_text()


@pytest.mark.parametrize(
    ("name", "value"), [("torch", "2.12.0"), ("device", "cuda: A100"), ("commit", "fedcba")]
)
def test_other_versions_devices_and_commits_are_told(
    clone: MakeClone, merge: Merge, name: str, value: str
) -> None:
    first = clone("vm1").run("lora").note("device", "cpu")
    second = clone("vm2").run("full_finetune").note("device", "cpu").note(name, value)
    done = merge(first.root, second.root)
    assert done.exit_code == 0
    assert f"warning: {name} differs: " in done.output
    assert f"{value} for {TASK}/full_finetune (vm2)" in done.output


def _share(root: Path, *, odd: bool) -> Path:
    """A clone as ``storage`` leaves it: every record, but what else its own runs have left."""
    for record in root.rglob("record.json"):
        if int(record.parent.name[-1]) % 2 == odd:
            (record.parent / "predictions.jsonl").write_text(record.parent.name)
    (root / "experiments/small" / TASK / "lora/phase1/journal.log").unlink(missing_ok=True)
    return root


def test_clones_that_shared_a_units_runs_are_joined(
    write_study: Callable[..., Study], clone: MakeClone, merge: Merge
) -> None:
    first = _share(clone("vm1").run("lora").root, odd=True)
    second = _share(clone("vm1").run("lora").root, odd=False)
    assert "have each run it" in str(merge(first, second).exception)  # without a storage
    write_study(storage="postgresql:///?service=x")
    done = merge(first, second)
    assert done.exit_code == 0, done.exception
    assert f"{TASK}/lora: new, " in done.output
    assert f"{TASK}/lora: joined, " in done.output
    runs = [path.parent for path in Path("experiments").rglob("record.json")]
    assert len(runs) > 6
    assert all((run / "predictions.jsonl").read_text() == run.name for run in runs)
    before = snapshot()
    assert merge(second, first).output.count(f"{TASK}/lora: older") == 2
    assert snapshot() == before


def test_shared_runs_that_contradict_each_other_are_refused(
    write_study: Callable[..., Study], clone: MakeClone, merge: Merge
) -> None:
    write_study(storage="postgresql:///?service=x")
    first = _share(clone("vm1").run("lora").root, odd=True)
    second = _share(clone("vm2").run("lora").root, odd=False)
    assert "record.json differs" in str(merge(first, second).exception)
