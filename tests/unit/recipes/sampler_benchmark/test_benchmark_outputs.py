"""What is said of samplers: curves, verdicts on paired searches, words and files."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest

from phasewise.recipes.sampler_benchmark.figures import compute_anytime
from phasewise.recipes.sampler_benchmark.outputs import (
    best_so_far,
    judge_samplers,
    rank_samplers,
    write_benchmark,
)
from phasewise.recipes.sampler_benchmark.searches import BenchmarkSearch
from phasewise.recipes.sampler_benchmark.surrogate import Fit
from phasewise.recipes.sampler_benchmark.unit import UnitBenchmark

SEEDS, TRIALS = 8, 6


def _benchmark(gain: float, *, correlation: float = 0.8, sign: float = 1.0) -> UnitBenchmark:
    """`tpe` is better than `random` by ``gain``, `gp` draws what `random` does."""
    rng = np.random.default_rng(0)
    searches = []
    for seed in range(SEEDS):
        scores = rng.normal(0.7, 0.02, size=TRIALS)
        for sampler, shift in (("random", 0.0), ("tpe", gain), ("gp", 0.0)):
            noise = rng.normal(0, 0.002, size=TRIALS) if sampler == "tpe" else 0.0
            values = tuple(map(float, sign * (scores + shift + noise)))
            searches.append(BenchmarkSearch(sampler, seed, values, 0.01))
    fit = Fit(40, correlation, 0.6)
    return UnitBenchmark("toy", "lora", "accuracy", sign, TRIALS, fit, tuple(searches))


def test_best_so_far_starts_at_the_worst_and_stays_when_a_grid_ends() -> None:
    searches = (
        BenchmarkSearch("grid", 0, (None, 0.6), 0.0),
        BenchmarkSearch("random", 0, (0.2, 0.7, 0.5), 0.0),
    )
    unit = UnitBenchmark("toy", "lora", "accuracy", 1.0, 3, None, searches)
    assert best_so_far(unit) == {"grid": [[0.2, 0.6, 0.6]], "random": [[0.2, 0.7, 0.7]]}


def test_anytime_curve_is_the_mean_with_students_interval_of_its_logit() -> None:
    curve = compute_anytime("accuracy", {"tpe": [[0.1, 0.5], [0.3, 0.7]]}).curves[0]
    assert curve.values == pytest.approx((0.2, 0.6))
    # t(0.975, 1) times s / sqrt n, on the scale of the logit: over p (1 - p)
    half = 12.706204736 * math.sqrt(0.02 / 2) / (0.2 * 0.8)
    ends = [1 / (1 + math.exp(-(math.log(0.2 / 0.8) + side * half))) for side in (-1, 1)]
    assert curve.intervals[0] == pytest.approx(tuple(ends))


def test_better_sampler_is_told_from_an_equal_one() -> None:
    unit = _benchmark(0.05)
    verdicts = judge_samplers([(unit, best_so_far(unit))])
    found = {(v.first, v.second): v.beats for v in verdicts}
    assert found == {("tpe", "random"): True, ("tpe", "gp"): True, ("random", "gp"): False}


def test_correction_counts_every_pair() -> None:
    unit = _benchmark(0.05)
    verdicts = judge_samplers([(unit, best_so_far(unit))])
    best = next(v for v in verdicts if v.second == "random")
    assert best.comparison is not None
    assert best.comparison.p_value is not None
    assert best.holm_p == pytest.approx(min(1.0, best.comparison.p_value * 3), rel=1.0)
    assert best.holm_p >= 2 * best.comparison.p_value


def test_trials_to_match_random_are_counted_on_the_mean() -> None:
    unit = _benchmark(0.05)
    rows = {row.sampler: row for row in rank_samplers(unit, best_so_far(unit))}
    matched = rows["tpe"].trials_to_match_random
    assert matched is not None
    assert matched < TRIALS
    assert rows["gp"].trials_to_match_random == rows["random"].trials_to_match_random
    assert next(iter(rows)) == "tpe"


def test_loss_is_shown_as_it_is_and_the_lowest_leads() -> None:
    unit = _benchmark(-0.05, sign=-1.0)
    rows = rank_samplers(unit, best_so_far(unit))
    assert rows[0].sampler == "tpe"
    assert rows[0].best.mean == pytest.approx(0.62, abs=0.02)


def test_files_hold_numbers_words_and_picture(tmp_path: Path) -> None:
    path = write_benchmark([_benchmark(0.05)], tmp_path / "out")
    text = path.read_text(encoding="utf-8")
    assert "8 searches of 6 trials each by each of 3 samplers" in text
    assert "40 real trainings" in text
    assert "rank correlation 0.80" in text
    assert "tpe beats random on toy/lora by" in text
    assert "random and gp are tied on toy/lora" in text
    assert "too little" not in text
    with (path.parent / "trials.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == SEEDS * TRIALS * 3
    assert rows[0].keys() >= {"sampler", "seed", "trial", "value", "best"}
    with (path.parent / "verdicts.csv").open(encoding="utf-8") as stream:
        assert {row["verdict"] for row in csv.DictReader(stream)} == {
            "beats",
            "cannot be told apart",
        }
    for ending in ("png", "svg"):
        assert (path.parent / f"anytime_toy_lora.{ending}").stat().st_size > 1000


def test_poor_stand_in_is_called_poor(tmp_path: Path) -> None:
    path = write_benchmark([_benchmark(0.05, correlation=0.3)], tmp_path)
    assert "too little to carry the order" in path.read_text(encoding="utf-8")
