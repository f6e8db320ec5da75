"""What several processes leave that write a checkpoint together; one process: test_resumed_runs."""

from collections.abc import Callable
from pathlib import Path

import pytest

from phasewise.checkpoints import find_checkpoint, list_checkpoints, write_checkpoint


class _Writers:
    """One process of two; the other fails at a part, of three: room, files, manifest."""

    def __init__(self, writes: bool, other_fails_at: int | None = None) -> None:
        self.writes = writes
        self._fails_at, self._part = other_fails_at, 0

    def each(self, part: Callable[[], None]) -> None:
        part()
        self._part += 1
        if self._part == self._fails_at:
            raise RuntimeError("rank 1: No space left on device")


def _write(run: Path, step: int, writers: _Writers, name: str = "a") -> None:
    def write(folder: Path) -> None:
        (folder / name).write_text(name)

    write_checkpoint(run, step, "owner", {}, write, writers=writers)


def test_the_manifest_names_the_files_of_all_that_wrote(tmp_path: Path) -> None:
    other = _Writers(writes=False)
    folder = tmp_path / "checkpoints" / "checkpoint-1"

    class First(_Writers):
        def each(self, part: Callable[[], None]) -> None:
            super().each(part)
            if self._part == 1:  # there is a folder now
                _write(tmp_path, 1, other, "b")

    _write(tmp_path, 1, First(writes=True))
    found = find_checkpoint(tmp_path, "owner")
    assert found.checkpoint is not None
    assert {path.name for path in folder.iterdir()} == {"a", "b", "checkpoint.json"}
    (folder / "b").unlink()
    assert find_checkpoint(tmp_path, "owner").checkpoint is None


@pytest.mark.parametrize("part", [1, 2])
def test_nothing_is_left_if_another_could_not_do_its_part(tmp_path: Path, part: int) -> None:
    _write(tmp_path, 1, _Writers(writes=True))
    with pytest.raises(RuntimeError, match="rank 1: No space"):
        _write(tmp_path, 2, _Writers(writes=True, other_fails_at=part))
    assert [folder.name for folder in list_checkpoints(tmp_path)] == ["checkpoint-1"]


def test_a_whole_one_stays_if_another_is_lost_right_after(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):
        _write(tmp_path, 1, _Writers(writes=True, other_fails_at=3))
    found = find_checkpoint(tmp_path, "owner").checkpoint
    assert found is not None
    assert found.step == 1
