"""What a run tells of itself while it trains."""

from collections.abc import Callable
from pathlib import Path

import pytest

from phasewise.live import LiveLog, read_live
from phasewise.records import LIVE_FILE, Evaluation, TrainPoint, write_record
from phasewise.settings import Study
from synthetic import make_config, make_record

_POINT = TrainPoint(step=3, loss=0.5, learning_rate=1e-3)
_SCORED = Evaluation(step=4, epoch=1.0, train_loss=0.6, metrics={"accuracy": 0.7})


@pytest.fixture
def study(write_study: Callable[..., Study]) -> Study:
    return write_study()


def _begin(study: Study, folder: Path) -> LiveLog:
    return LiveLog(folder, make_config(study, "rotten_tomatoes", "lora", "trial-001"), 12)


def test_a_reader_sees_each_line_as_soon_as_it_is_written(study: Study, tmp_path: Path) -> None:
    assert read_live(tmp_path / "run") is None
    log = _begin(study, tmp_path / "run")
    started = read_live(tmp_path / "run")
    assert started is not None
    assert (started.config.name, started.last_step, started.step) == ("trial-001", 12, 0)
    log.note("train", _POINT)
    log.note("evaluation", _SCORED)
    live = read_live(tmp_path / "run")
    assert live is not None
    assert (live.step, live.train_points, live.evaluations) == (4, (_POINT,), (_SCORED,))
    assert live.started <= live.updated


def test_a_line_under_way_hides_none_before_it(study: Study, tmp_path: Path) -> None:
    _begin(study, tmp_path).note("train", _POINT)
    with (tmp_path / LIVE_FILE).open("a") as stream:
        stream.write('{"time": 17, "eval')
    live = read_live(tmp_path)
    assert live is not None
    assert live.train_points == (_POINT,)


@pytest.mark.parametrize("content", ["", "{", "[]\n", '{"time": 1}\n', "17\n", "\0\0\n"])
def test_a_file_that_tells_nothing_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / LIVE_FILE).write_text(content)
    assert read_live(tmp_path) is None


def test_another_attempt_starts_anew_and_the_record_takes_its_place(
    study: Study, tmp_path: Path
) -> None:
    _begin(study, tmp_path).note("train", _POINT)
    _begin(study, tmp_path)
    live = read_live(tmp_path)
    assert live is not None
    assert live.step == 0
    write_record(tmp_path, make_record(live.config, 0.7))
    assert read_live(tmp_path) is None


def test_a_link_is_not_written_through_and_no_run_fails(study: Study, tmp_path: Path) -> None:
    target = tmp_path / "strangers"
    target.write_text("theirs")
    folder = tmp_path / "run"
    folder.mkdir()
    log = _begin(study, folder)
    (folder / LIVE_FILE).unlink()
    (folder / LIVE_FILE).symlink_to(target)
    log.note("train", _POINT)
    assert target.read_text() == "theirs"
    blocked = tmp_path / "file" / "run"
    blocked.parent.write_text("")
    _begin(study, blocked).note("train", _POINT)
