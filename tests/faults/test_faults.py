"""A few lines of the fault table, and that its checker sees what it is there to see."""

import json
import random
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from faults.checker import Ends, Verdict, compare, read_journal
from faults.lines import Bench, SkippedError
from faults.table import LINES
from faults.world import Try, World
from phasewise.training.server_process import SERVER_VARIABLE, share_server
from postgres import skip_loudly


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(SERVER_VARIABLE, "")  # given back afterwards
        patch.chdir(".")
        world = World()
        server = share_server()
        assert server is not None
        yield Bench(world, psutil.Process(server.pid), random.Random(0), tries=1, seconds=4.0)
        world.close()
        server.terminate()
        server.wait()


@pytest.fixture(scope="module")
def ended(bench: Bench) -> Try:
    """A search that came to its end undisturbed."""
    study = bench.world.study()
    assert study.call() == 0, study.output.read_text()
    assert study.check_end() == Verdict()
    return study


@pytest.mark.slow
@pytest.mark.parametrize(
    "line",
    [
        "controller killed",
        "worker killed",
        "journal with a complete last line of garbage",
        "record garbled",
        "snakemake TERM",
        "PostgreSQL: link cut for 5 s",
        "SLURM: job requeued",
    ],
)
def test_a_line_of_the_table(bench: Bench, line: str) -> None:
    try:
        row = LINES[line](bench)
    except SkippedError as error:
        skip_loudly(str(error))
    assert row.tries == 1
    assert row.verdict == Verdict()
    assert row.left == 0


def test_the_checker_sees_a_lost_and_a_changed_record(ended: Try, tmp_path: Path) -> None:
    before = ended.finished()
    name = "phase1/trial-003"
    path = ended.unit / name / "record.json"
    content = path.read_bytes()
    try:
        path.unlink()
        assert compare(before, ended.unit).lost == 1
        assert ended.check_end().lost == 1
        record = json.loads(content)
        metric = next(iter(record["search_metrics"]))
        record["search_metrics"][metric] += 0.01
        path.write_text(json.dumps(record))
        assert compare(before, ended.unit).lost == 1
        assert any("does not give its digest" in text for text in ended.check_end().broken)
        assert any("record and storage differ" in text for text in ended.check_end().broken)
    finally:
        path.write_bytes(content)
    assert compare(before, ended.unit) == ended.check_end() == Verdict()


def test_the_checker_sees_what_is_doubled_or_too_much(ended: Try) -> None:
    ends = read_journal(ended.journal)
    more = {**ends.ended, 8: ends.ended[7]}
    assert ended.check_end(Ends(9, more, 0)).off_budget == 1
    assert ended.check_end(ends._replace(twice=1)).doubled == 1
    copy, source = ended.unit / "phase1/trial-008", ended.unit / "phase1/trial-002/record.json"
    copy.mkdir()
    try:
        (copy / "record.json").write_bytes(source.read_bytes())
        assert ended.check_end().doubled == 2  # its number and its settings
        assert ended.check_end().off_budget == 1
    finally:
        (copy / "record.json").unlink()
        copy.rmdir()


def test_the_checker_sees_processes_that_are_left(
    bench: Bench, ended: Try, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("faults.world.LEFT_SECONDS", 0.3)
    assert ended.count_left(bench.server) == 0
    process = ended.spawn(["sleep", "60"], alone=True)
    assert ended.count_left(bench.server) == 1
    assert process.wait(5) != 0
