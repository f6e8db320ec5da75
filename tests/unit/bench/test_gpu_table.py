from pathlib import Path

import pytest
from benchmarks import gpu
from benchmarks.bench.slots import SlotsPoint, format_slots


def test_tiny_mode_trains_every_line_of_the_table_on_a_cpu(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "gpu.json"
    arguments = ["--tiny", "--models", "minilm", "--methods", "dora", "--slots", "2"]
    points = gpu.main([*arguments, "--out", str(out)])
    assert [(p.method, p.slots) for p in points] == [("dora", 0), ("dora", 2)]
    assert all(0 < p.peak_share < 1 and p.tokens_per_second > 0 for p in points)
    assert out.is_file()
    assert len(capsys.readouterr().out.splitlines()) == 3 + len(points)


def test_memory_of_a_further_trial_is_taken_from_the_first_point() -> None:
    points = [SlotsPoint(k, 4 / k, 500 + 10 * k, 1, 3) for k in (1, 5)]
    *_, last = format_slots(points).splitlines()
    # (550 - 510) / (5 - 1) = 10 MB per trial, which itself holds 3 x 1 + 3 MB.
    assert last.split() == ["5", "0.80", "5.00", "550", "10.0", "3.0", "+", "3.0", "=", "6.0"]
