"""Progress lines: plain without a terminal, dated in the log."""

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from phasewise.tuning.progress import Clock, ProgressLog, format_duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0s"), (45.4, "45s"), (110, "1m50s"), (7500, "2h05m"), (273600, "3d04h")],
)
def test_duration(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_time_left_is_the_mean_of_what_ended() -> None:
    clock = Clock(spent=110.0)
    assert clock.describe(4, 10) == "1m50s, ~2m45s left"
    assert clock.describe(0, 10) == "1m50s"
    assert clock.describe(10, 10) == "1m50s"


def test_plain_line_without_a_terminal_and_dated_line_in_the_log(tmp_path: Path) -> None:
    out = io.StringIO()
    log = tmp_path / "logs" / "vm1" / "rte_lora.log"
    lines = ProgressLog("rte/lora", log, console=Console(file=out, width=20))
    lines.write("trial 4 · accuracy 0.701 [not markup]", style="bold")
    assert out.getvalue() == "[rte/lora] trial 4 · accuracy 0.701 [not markup]\n"
    dated = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ \[rte/lora\] trial 4 .*\n"
    assert re.fullmatch(dated, log.read_text(encoding="utf-8"))


def test_terminal_gets_color() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, color_system="standard")
    ProgressLog("rte/lora", console=console).write("best", style="bold")
    assert "\x1b[" in out.getvalue()
