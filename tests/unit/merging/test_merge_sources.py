"""Archives and other machines: what they may hold, and that a hostile one writes nothing."""

import gzip
import io
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from clones import TASK, Clone, snapshot
from typer.testing import Result

from phasewise.merging import read_manifest
from phasewise.settings import Study

Merge = Callable[..., Result]
MakeClone = Callable[..., Clone]
PREDICTIONS = f"experiments/small/{TASK}/lora/phase0/default-0/predictions.jsonl"


def _pack(source: Clone, target: Path, mode: str = "w:gz", top: str = "") -> Path:
    with tarfile.open(target, mode) as archive:  # type: ignore[call-overload]
        archive.add(source.root, arcname=top or ".")
    return target


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz", "w:bz2"])
@pytest.mark.parametrize("top", ["", "phasewise"])
def test_an_archive_of_a_clone(
    clone: MakeClone, merge: Merge, tmp_path: Path, mode: str, top: str
) -> None:
    source = clone("vm1").run("lora")
    done = merge(_pack(source, tmp_path / "vm1.tar", mode, top))
    assert done.exit_code == 0, done.output
    after = snapshot()
    for name, (content, time) in snapshot(source.root).items():
        assert after[name][0] == content
        assert abs(after[name][1] - time) < 2000  # ns: a tar holds times as decimal numbers
    assert not list(tmp_path.glob("cache/merge/*"))


def _refused(done: Result, reason: str, tmp_path: Path) -> None:
    assert done.exit_code == 1, done.output
    assert reason in str(done.exception)
    assert not (tmp_path / "experiments").exists()
    assert not list(tmp_path.glob("cache/merge/*"))


Change = Callable[[tarfile.TarInfo], Any]


def _member(**how: Any) -> tarfile.TarInfo:
    member = tarfile.TarInfo(how.pop("name", PREDICTIONS))
    for key, value in how.items():
        setattr(member, key, value)
    return member


@pytest.mark.parametrize(
    ("member", "reason"),
    [
        (_member(type=tarfile.SYMTYPE, linkname="/etc/passwd"), "got a link"),
        (_member(type=tarfile.LNKTYPE, linkname="study.yaml"), "got a link"),
        (_member(type=tarfile.CHRTYPE, devmajor=1, devminor=3), "got a device"),
        (_member(type=tarfile.FIFOTYPE), "got a device"),
        (_member(name="../outside"), "../outside: leads out of the source"),
        (_member(name="experiments/small/../../../outside"), "leads out of the source"),
        (_member(name="/tmp/outside"), "/tmp/outside: leads out of the source"),
        (_member(name="a\x1b[2Jb"), "a\\x1b[2Jb: a name that no step of a study writes"),
        (
            _member(name="experiments", type=tarfile.SYMTYPE, linkname="/"),
            "experiments: is there twice",
        ),
        (_member(name=PREDICTIONS, size=10**12), "more than 20 GB"),
    ],
)
def test_a_hostile_member(
    clone: MakeClone, merge: Merge, tmp_path: Path, member: tarfile.TarInfo, reason: str
) -> None:
    path = _pack(clone("vm1").run("lora"), tmp_path / "vm1.tar", "w")
    with tarfile.open(path, "a") as archive:
        archive.addfile(member)
    _refused(merge(path), reason, tmp_path)


def test_a_file_that_is_there_twice(clone: MakeClone, merge: Merge, tmp_path: Path) -> None:
    source = clone("vm1").run("lora")
    path = _pack(source, tmp_path / "vm1.tar", "w")
    with tarfile.open(path, "a") as archive:
        archive.add(
            source.unit("lora") / "phase2.json", f"experiments/small/{TASK}/lora/phase2.json"
        )
    _refused(merge(path), "phase2.json: is there twice", tmp_path)


def test_a_bomb_is_not_unpacked(merge: Merge, tmp_path: Path) -> None:
    """The archive claims 100 GB, and would give them."""
    member = _member(name="zeros", size=10**11)
    path = tmp_path / "bomb.tgz"
    with gzip.open(path, "wb") as stream:
        stream.write(member.tobuf())
        stream.write(bytes(10**6))
    _refused(merge(path), "more than 20 GB", tmp_path)


def test_a_header_that_claims_gigabytes_is_not_read(merge: Merge, tmp_path: Path) -> None:
    path = tmp_path / "bomb.tar"
    header = _member(name="x", type=tarfile.XHDTYPE, size=10**10)
    path.write_bytes(header.tobuf(tarfile.GNU_FORMAT) + bytes(10**5))
    _refused(merge(path), "a header of 10000000000 bytes", tmp_path)


@pytest.mark.parametrize("content", [b"", b"no archive", bytes(10_240), b"\x1f\x8b\x08broken"])
def test_no_archive(merge: Merge, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "vm1.tar"
    path.write_bytes(content)
    done = merge(path)
    assert done.exit_code == 1
    assert str(path) in str(done.exception)


@pytest.mark.parametrize("keep", [0.3, 0.7, 0.95])
def test_an_archive_that_was_cut_off(
    clone: MakeClone, merge: Merge, tmp_path: Path, keep: float
) -> None:
    path = _pack(clone("vm1").run("lora"), tmp_path / "vm1.tgz")
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    _refused(merge(path), "not a tar file that can be read", tmp_path)


def test_a_time_beyond_all_bounds(clone: MakeClone, merge: Merge, tmp_path: Path) -> None:
    path = _pack(clone("vm1").run("lora"), tmp_path / "vm1.tar", "w")
    with tarfile.open(path, "a", format=tarfile.PAX_FORMAT) as archive:
        member = _member(name=PREDICTIONS, pax_headers={"mtime": "1e300"}, size=2)
        archive.addfile(member, io.BytesIO(b"{}"))
    done = merge(path)
    assert done.exit_code == 1
    assert "time" in str(done.exception)
    assert not (tmp_path / "experiments").exists()


@pytest.fixture
def remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A machine behind rsync: its shell is one on this machine."""
    if shutil.which("rsync") is None:
        pytest.skip("rsync is not installed")
    shell = tmp_path / "cache" / "shell"
    shell.parent.mkdir(exist_ok=True)
    shell.write_text('#!/bin/sh\nwhile [ "$1" != vm1 ]; do shift; done; shift; exec sh -c "$*"\n')
    shell.chmod(0o755)
    monkeypatch.setenv("RSYNC_RSH", str(shell))
    return "me@vm1"


def test_another_machine(
    study: Study, clone: MakeClone, merge: Merge, remote: str, tmp_path: Path
) -> None:
    source = clone("vm1").run("lora")
    (source.root / "notes.txt").write_text("not a result")
    done = merge(f"{remote}:{source.root}")
    assert done.exit_code == 0, done.exception
    before, after = snapshot(source.root), snapshot()
    assert {n: v for n, v in before.items() if n != "notes.txt"}.items() <= after.items()
    assert "notes.txt" not in after
    assert read_manifest(study).units[0].source == f"me@vm1:{source.root}"
    assert not list(tmp_path.glob("cache/merge/*"))
    assert f"{TASK}/lora: same" in merge(f"{remote}:{source.root}").output


def test_a_link_on_another_machine(
    clone: MakeClone, merge: Merge, remote: str, tmp_path: Path
) -> None:
    source = clone("vm1").run("lora")
    (source.root / PREDICTIONS).symlink_to("/etc/passwd")
    _refused(merge(f"{remote}:{source.root}"), "predictions.jsonl: expected a file", tmp_path)


def test_a_name_with_a_line_break_on_another_machine(
    clone: MakeClone, merge: Merge, remote: str, tmp_path: Path
) -> None:
    source = clone("vm1").run("lora")
    (source.unit("lora") / "a\nb.json").write_text("{}")
    _refused(merge(f"{remote}:{source.root}"), "a name that no step", tmp_path)


def test_too_much_on_another_machine(
    clone: MakeClone, merge: Merge, remote: str, tmp_path: Path
) -> None:
    source = clone("vm1").run("lora")
    with (source.root / PREDICTIONS).open("wb") as stream:
        stream.truncate(3 * 10**9)
    _refused(merge(f"{remote}:{source.root}", max_gb=2), "more than 2 GB", tmp_path)


def test_another_machine_gets_no_shell_command(merge: Merge, remote: str, tmp_path: Path) -> None:
    done = merge(f"{remote}:/none; touch {tmp_path}/planted")
    assert done.exit_code == 1
    assert "rsync: " in str(done.exception)
    assert not (tmp_path / "planted").exists()


def test_rsync_is_missing(merge: Merge, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    _refused(merge("me@vm1:clone"), "rsync: not installed", tmp_path)
