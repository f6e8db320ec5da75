import json
from pathlib import Path

import pytest
from benchmarks.bench.arms import ArmResult
from benchmarks.bench.results import format_table, merge_section, summarize


def _result(
    seconds: float, scores: tuple[float | None, ...] = (0.5,), steps: float | None = None
) -> ArmResult:
    return ArmResult(seconds, seconds + 1, 2 * seconds, 100.0, scores, steps)


def test_ratios_are_taken_within_each_repetition() -> None:
    # 20/10, 60/20, 30/30: median 2, from 1 to 3; medians of seconds alone would give 30/20.
    ours = [_result(10), _result(20), _result(30)]
    theirs = [_result(20), _result(60), _result(30)]
    summary = summarize(ours, theirs, workers=1)
    assert (summary.seconds, summary.ratio, summary.ratio_range) == (20, 2, (1, 3))


def test_quality_leaves_out_trials_that_were_stopped() -> None:
    summary = summarize([_result(1, (0.5, None, 0.8))], [], workers=1)
    assert (summary.best, summary.finished, summary.ratio) == (0.8, 2, None)
    assert summary.mean == pytest.approx(0.65)


def test_the_best_loss_is_the_lowest() -> None:
    results = [_result(1, (0.5, 0.8))]
    assert summarize(results, [], workers=1, higher_is_better=False).best == 0.5


def test_overhead_is_the_share_of_all_workers_time_outside_steps() -> None:
    # Two workers for 10 s are 20 s of work; 18 s were steps.
    assert summarize([_result(10, steps=18.0)], [], workers=2).overhead == pytest.approx(0.1)


def test_table_is_sorted_by_time_and_survives_an_arm_without_scores() -> None:
    summaries = {
        "slow": summarize([_result(9)], [_result(9)], workers=1),
        "fast": summarize([_result(3, (None,), 2.7)], [_result(9)], workers=1),
    }
    _, _, first, second = format_table(summaries, "slow").splitlines()
    assert first.split()[:3] == ["fast", "3.0", "3.00"]
    assert first.endswith("10.0 %")
    assert second.startswith("slow")


def test_a_section_is_replaced_and_the_others_stay(tmp_path: Path) -> None:
    path = tmp_path / "results" / "cpu.json"
    merge_section(path, "one", {"seconds": 1.23456, "best": float("nan")})
    merge_section(path, "two", {"scores": (0.123456, None)})
    merge_section(path, "two", {"scores": (0.5,)})
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content == {"one": {"seconds": 1.235, "best": None}, "two": {"scores": [0.5]}}
