"""What is refused, with its reason, and that then nothing at all is written."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from clones import TASK, Clone
from typer.testing import Result

from phasewise.merging import listing, units
from phasewise.merging.units import at
from phasewise.records import read_record, write_json, write_record
from phasewise.runs import RunConfig
from phasewise.settings import Study, load_study
from phasewise.steps import describe_study
from phasewise.summaries import read_task_baselines, write_summary

Merge = Callable[..., Result]
MakeClone = Callable[..., Clone]
RUN = "phase2/seed-00"


def _refused(done: Result, *reasons: str) -> str:
    """The message of a merge that was refused."""
    assert done.exit_code == 1, done.output
    assert type(done.exception).__name__ == "RecordError", done.exception
    message = str(done.exception)
    for reason in reasons:
        assert re.search(reason, message), message
    return message


@pytest.fixture(autouse=True)
def untouched(study: Study, tmp_path: Path) -> Any:
    """Whatever is refused, the clone stays as it was."""
    yield
    assert not (tmp_path / "experiments").exists()
    assert not (tmp_path / "analysis").exists()
    assert not list(tmp_path.glob("cache/merge/*"))


def _edit(file: Path, change: Callable[[Any], None]) -> None:
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def test_an_edited_record(clone: MakeClone, merge: Merge) -> None:
    source = clone("vm1").run("lora")
    file = source.unit("lora") / RUN / "record.json"
    _edit(file, lambda content: content["report_metrics"].update(accuracy=0.99))
    _refused(merge(source.root), rf"{file}: its content does not give its digest")


def test_a_record_with_a_new_digest_and_the_old_hash(clone: MakeClone, merge: Merge) -> None:
    source = clone("vm1").run("lora")
    folder = source.unit("lora") / RUN
    record = read_record(folder)
    assert record is not None
    seeds = record.config.seeds.model_copy(update={"init": 1})
    config = record.config.model_copy(update={"seeds": seeds})
    write_record(folder, record.model_copy(update={"config": config}))
    _refused(merge(source.root), rf"{folder}.*its settings do not give its hash")


def test_the_record_of_another_run(clone: MakeClone, merge: Merge) -> None:
    source = clone("vm1").run("lora")
    (source.unit("lora") / RUN).rename(source.unit("lora") / "phase2" / "seed-07")
    _refused(merge(source.root), "holds the record of another run, .*/lora/phase2/seed-00")


def test_a_summary_that_says_something_else(clone: MakeClone, merge: Merge) -> None:
    source = clone("vm1").run("lora")
    file = source.unit("lora") / "phase2.json"
    _edit(file, lambda content: content["report"].update(scores=[0.99, 0.99]))
    _refused(merge(source.root), f"{file}: its scores are not those of its records")


def test_the_same_unit_from_two_machines(clone: MakeClone, merge: Merge) -> None:
    first, second = clone("vm1").run("lora"), clone("vm2").run("lora", first=0.5)
    _refused(
        merge(first.root, second.root),
        rf"{TASK}/lora: {first.root} \(vm1\) and {second.root} \(vm2\) have each run it, and "
        r"experiments/\S+ differs",
    )


def test_other_settings_by_their_keys(study: Study, clone: MakeClone, merge: Merge) -> None:
    tasks = {TASK: {**study.settings.tasks[TASK], "max_length": 32}}
    other = _variant(study, tasks=tasks)
    source = clone("vm1", of=other).run("lora")
    message = _refused(merge(source.root), r"default-0 \(vm1\) is of other settings")
    assert "data.task.max_length 24 here, 32 there" in message


@pytest.mark.parametrize(
    ("change", "keys"),
    [
        ({"search": {"trials": 6, "space": "demo"}}, "search.trials 4 here, 6 there"),
        ({"seed": 1}, "data.split_seed"),
        (
            {"search": {"trials": 4, "space": "demo", "sampler": "random"}},
            'sampler "schedule" here',
        ),
    ],
)
def test_other_settings_of_a_search(
    study: Study, clone: MakeClone, merge: Merge, change: dict[str, Any], keys: str
) -> None:
    other = _variant(study, **change)
    source = clone("vm1", of=other).run("lora")
    noted = source.study.settings.experiments_path / "study.json"
    write_json(noted, describe_study(other))
    assert keys in _refused(merge(source.root), "of other settings")


def _variant(study: Study, **changes: Any) -> Study:
    path = study.path.with_name("other.yaml")
    path.write_text(yaml.safe_dump({**yaml.safe_load(study.path.read_text()), **changes}))
    return load_study(path)


def test_other_data(clone: MakeClone, merge: Merge) -> None:
    """On a machine that has the data, and on one that has not."""
    sources = [clone("vm1").run("lora"), clone("vm2").run("full_finetune")]
    _alter_units(sources[1], data_fingerprint="sha256:other")
    _refused(merge(*(s.root for s in sources)), r"data_fingerprint .* here, \"sha256:other\" there")


def test_other_data_on_a_machine_without_them(
    clone: MakeClone, merge: Merge, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = [clone("vm1").run("lora"), clone("vm2").run("full_finetune")]
    _alter_units(sources[1], data_fingerprint="sha256:other")
    monkeypatch.setattr("phasewise.unit_runs.PresentUnit.built", None)
    for name in ("phase0.json", "phase2.json"):
        (sources[1].unit("full_finetune") / name).unlink()
    sources[1].study.settings.analysis_path.joinpath(f"{TASK}_full_finetune_optimal.yaml").unlink()
    (sources[1].unit("lora").parent / "baselines.json").unlink()
    _refused(
        merge(*(s.root for s in sources)),
        rf"{TASK}: the data differ: .* for {TASK}/lora \(vm1\); sha256:other for "
        rf"{TASK}/full_finetune \(vm2\)",
    )


def _alter_units(clone: Clone, **data: str) -> None:
    """Makes every run one of other data, with its own hash and digest."""
    for file in clone.root.rglob("record.json"):
        record = read_record(file.parent)
        assert record is not None
        unit = record.config.unit_config
        changed = unit.model_copy(update={"data": unit.data.model_copy(update=data)})
        config: RunConfig = record.config.model_copy(update={"unit_config": changed})
        write_record(file.parent, record.model_copy(update={"config": config, "hash": config.hash}))


def test_other_baselines(clone: MakeClone, merge: Merge) -> None:
    sources = [clone("vm1").run("lora"), clone("vm2").run("full_finetune")]
    file = sources[1].unit("lora").parent / "baselines.json"
    found = read_task_baselines(file)
    assert found is not None
    write_summary(file, found.model_copy(update={"train_rows": 31}))
    _refused(merge(*(s.root for s in sources)), f"{TASK}: the baselines of .* differ")


def _link(source: Clone) -> Path:
    path = source.unit("lora") / "phase0" / "default-0" / "predictions.jsonl"
    path.symlink_to("/etc/passwd")
    return path


def _link_folder(source: Clone) -> Path:
    path = source.unit("lora") / "phase2"
    path.rename(source.root / "elsewhere")
    path.symlink_to(source.root / "elsewhere")
    return path


def _link_top(source: Clone) -> Path:
    path = source.root / "experiments"
    path.rename(source.root / "elsewhere")
    path.symlink_to(source.root / "elsewhere")
    return path


def _pipe(source: Clone) -> Path:
    path = source.unit("lora") / "phase0" / "default-0" / "predictions.jsonl"
    os.mkfifo(path)
    return path


def _odd_name(source: Clone) -> Path:
    path = source.unit("lora") / "phase0" / "a\nb.json"
    path.write_text("{}")
    return path


def _alias(source: Clone) -> Path:
    path = source.study.settings.analysis_path / f"{TASK}_lora_optimal.yaml"
    path.write_text("a: &a [1, 1]\nb: [*a, *a]\n")
    return path


def _deep(source: Clone) -> Path:
    path = source.unit("lora") / RUN / "record.json"
    path.write_text("[" * 100_000)
    return path


def _not_text(source: Clone) -> Path:
    path = source.unit("lora") / RUN / "record.json"
    path.write_bytes(b"\xff\xfe{}")
    return path


def _list(source: Clone) -> Path:
    path = source.unit("lora") / RUN / "record.json"
    path.write_text("[]")
    return path


def _journal(source: Clone) -> Path:
    path = source.unit("lora") / "phase1" / "journal.log"
    path.write_text("garbage\n")
    return path


def _ledger(source: Clone) -> Path:
    path = source.unit("lora").parent / "report_set_ledger.jsonl"
    path.write_text("[1]\n")
    return path


@pytest.mark.parametrize(
    ("plant", "reason"),
    [
        (_link, "got a link"),
        (_link_folder, "got a link"),
        (_link_top, "got a link"),
        (_pipe, "got a device"),
        (_odd_name, r"a\\nb.json: a name that no step"),
        (_alias, "got YAML with aliases"),
        (_deep, "not a record"),
        (_not_text, "not a record"),
        (_list, "expected a JSON object, got a list"),
        (_journal, "cannot be read"),
        (_ledger, "ledger"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_no_study_writes(
    clone: MakeClone, merge: Merge, plant: Callable[[Clone], Path], reason: str
) -> None:
    source = clone("vm1").run("lora")
    place = plant(source)
    message = _refused(merge(source.root), reason)
    assert place.name.split("\n")[0] in message


def test_an_unreadable_file(
    clone: MakeClone, merge: Merge, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = clone("vm1").run("lora")
    file = source.unit("lora") / RUN / "record.json"
    digest = units.digest

    def refuse(path: Path) -> str:
        if path == file:
            raise PermissionError(13, "Permission denied", str(path))
        return digest(path)

    monkeypatch.setattr(units, "digest", refuse)
    _refused(merge(source.root), f"{file}: cannot be read: Permission denied")


def test_too_large_a_source(clone: MakeClone, merge: Merge) -> None:
    source = clone("vm1").run("lora")
    with (source.unit("lora") / RUN / "model.safetensors").open("wb") as stream:
        stream.truncate(3 * 10**9)  # holds no block
    _refused(merge(source.root, max_gb=2), "more than 2 GB")


def test_too_large_a_record(clone: MakeClone, merge: Merge) -> None:
    source = clone("vm1").run("lora")
    with (source.unit("lora") / RUN / "record.json").open("r+b") as stream:
        stream.truncate(10**9)
    _refused(merge(source.root), "record.json: 1000 MB, too large")


def test_too_many_files(clone: MakeClone, merge: Merge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "_MOST_FILES", 10)
    _refused(merge(clone("vm1").run("lora").root), "more than 10 files")


def test_every_problem_of_every_source_is_told(clone: MakeClone, merge: Merge) -> None:
    sources = [clone("vm1").run("lora"), clone("vm2").run("full_finetune")]
    for source, method in zip(sources, ("lora", "full_finetune"), strict=True):
        file = source.unit(method) / RUN / "record.json"
        _edit(file, lambda content: content.update(ended="2030-01-01T00:00:00+00:00"))
    message = _refused(merge(*(s.root for s in sources)))
    assert message.count("does not give its digest") == 2
    assert message.endswith("nothing was written")


@pytest.mark.parametrize("place", ["nowhere", "a.tar", "-e sh:x", "https://u:token@host/x.tar"])
def test_no_source(merge: Merge, place: str) -> None:
    done = merge("--", place)
    assert done.exit_code != 0
    assert "expected a folder, a tar file or user@host:path" in str(done.exception)
    assert "token" not in str(done.exception)


def test_a_folder_without_results(merge: Merge, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    _refused(merge(tmp_path / "empty"), "expected a clone with results in experiments/small")


def test_a_study_that_writes_outside_of_its_clone(
    study: Study, clone: MakeClone, merge: Merge, tmp_path: Path
) -> None:
    text = study.path.read_text()
    study.path.write_text(f"{text}experiments_dir: {tmp_path / 'far'}\n")
    done = merge(clone("vm1").run("lora").root)
    assert "experiments_dir: expected a folder below the clone" in str(done.exception)


def test_a_unit_here_that_is_a_link(
    study: Study, clone: MakeClone, merge: Merge, tmp_path: Path
) -> None:
    source, target = clone("vm1").run("lora"), tmp_path / "cache" / "other"
    target.mkdir(parents=True)
    here = at(study, Path()).settings.experiments_path / TASK
    here.mkdir(parents=True)
    (here / "lora").symlink_to(target)
    _refused(merge(source.root), "here: .*lora: expected a file or a folder, got a link")
    assert not list(target.iterdir())
    (here / "lora").unlink()
    for folder in (here, *list(here.parents)[:2]):
        folder.rmdir()
