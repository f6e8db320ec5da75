import sys
import time
from pathlib import Path

import pytest
from benchmarks.bench.processes import ProcessError, run_measured


def test_memory_and_cpu_of_children_are_counted(tmp_path: Path) -> None:
    block = "block = b'x' * 150_000_000; import time; time.sleep(2.5)"
    parent = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {block!r}]).wait()"
    measured = run_measured((sys.executable, "-c", parent), tmp_path, {}, limit=60)
    assert measured.seconds >= 2.5
    assert measured.cpu_seconds < measured.seconds
    # Not this process's own memory, which a child's ru_maxrss would start from.
    assert 150 < measured.peak_memory_mb < 250


def test_a_failure_is_told_with_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(ProcessError, match=r"(?s)exit code 3.*no such thing"):
        run_measured(
            (sys.executable, "-c", "print('no such thing'); raise SystemExit(3)"),
            tmp_path,
            {},
            limit=60,
        )


def test_a_hung_process_is_killed(tmp_path: Path) -> None:
    clock = time.perf_counter()
    with pytest.raises(ProcessError, match="exit code -9"):
        run_measured((sys.executable, "-c", "import time; time.sleep(60)"), tmp_path, {}, limit=0.5)
    assert time.perf_counter() - clock < 30


def test_variables_are_added_and_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_GONE", "1")
    code = "import os; assert 'BENCH_GONE' not in os.environ; assert os.environ['BENCH_NEW'] == '2'"
    changes = {"BENCH_GONE": None, "BENCH_NEW": "2"}
    run_measured((sys.executable, "-c", code), tmp_path, changes, limit=60)
