"""``phasewise status --watch`` where no terminal is: plain lines, until all is done."""

import os
import subprocess
import sys
from collections.abc import Callable

import pytest
from typer.testing import CliRunner

from phasewise.cli.app import app
from phasewise.live import LiveLog
from phasewise.records import TrainPoint
from phasewise.report import collect_status
from phasewise.runs import UnitPaths
from phasewise.settings import Study
from phasewise.tuning.locking import hold_lock
from phasewise.tuning.stopping import StopFlag
from synthetic import UnitWriter, make_config

TASK = "rotten_tomatoes"


@pytest.fixture
def study(write_study: Callable[..., Study]) -> Study:
    return write_study(methods={"lora": {}})


def test_a_pipe_gets_lines_as_things_change_and_an_end(study: Study) -> None:
    command = [sys.executable, "-m", "phasewise", "status", "--study", str(study.path)]
    process = subprocess.Popen(
        [*command, "--watch", "0.5"], stdout=subprocess.PIPE, text=True, env={**os.environ}
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("phase0: each method's published default; phase1")
    assert "phasewise plan --pilot" in process.stdout.readline()
    assert process.stdout.readline()[9:] == f"{TASK}/lora: waiting, 0/14 runs\n"
    unit = UnitWriter(study, TASK, "lora")
    unit.phase0([0.5, 0.52], [0.51, 0.53])
    unit.phase1([0.6, 0.7, 0.65, 0.62], final=False)
    lines = [process.stdout.readline()]
    while "6/14" not in lines[-1]:
        lines.append(process.stdout.readline())
    assert lines[-1][9:].startswith(f"{TASK}/lora: phase1, 6/14 runs, best 0.700 accuracy ↑")
    unit.phase1([0.6, 0.7, 0.65, 0.62], confirm=[0.68])
    unit.phase2([0.7, 0.71])
    assert "done" in process.stdout.read().splitlines()[-1]
    assert process.wait(30) == 0


def test_the_time_left_is_known_before_the_first_run_has_ended(study: Study) -> None:
    paths = UnitPaths(study, TASK, "lora")
    with hold_lock(paths.lock, lambda text: None, StopFlag()):
        config = make_config(study, TASK, "lora", "default-0")
        log = LiveLog(paths.run("phase0", "default-0"), config, 10)
        (before,) = collect_status(study, [(TASK, "lora")])
        assert (before.phase, before.live, before.seconds_left) == (
            "phase0",
            ("default-0 0/10",),
            None,
        )
        log.note("train", TrainPoint(step=5, loss=0.5, learning_rate=1e-3))
        (status,) = collect_status(study, [(TASK, "lora")])
        assert status.live == ("default-0 5/10",)
        assert status.seconds_left is not None
    (after,) = collect_status(study, [(TASK, "lora")])
    assert after.live == ()  # whoever trained it has gone


def test_a_unit_not_begun_is_taken_to_be_as_slow_as_the_others(
    write_study: Callable[..., Study],
) -> None:
    study = write_study(methods={"lora": {}, "dora": {}})
    UnitWriter(study, TASK, "lora").phase0([0.5, 0.52], [0.51, 0.53])
    dora, lora = collect_status(study, study.units_of("all"))
    assert (lora.seconds_left, dora.seconds_left) == (12 * 12.5, 14 * 12.5)


def test_the_table_explains_its_phases(study: Study) -> None:
    done = CliRunner().invoke(app, ["status", "--study", str(study.path)])
    text = " ".join(done.output.split())
    assert "phase2: the chosen settings on fresh seeds" in text
    assert "phasewise plan --pilot" in text
