"""The documented success criteria and their noise floor, by hand."""

import math
from typing import Any

import pytest

from phasewise.settings import Hyperparameters
from phasewise.summaries import Criterion
from phasewise.tuning.candidates import build_candidates
from phasewise.tuning.criteria import Noise, SearchState, check_criteria, measure_noise
from phasewise.tuning.ended_trials import EndedTrial

SETTINGS = Hyperparameters(learning_rate=1e-3, batch_size=8, epochs=1)
NOISE = Noise(sampling_error=0.02, seed_sd=0.01)


def check(
    values: list[float], confirmed: dict[int, list[float]], **changes: Any
) -> dict[str, Criterion]:
    best = [
        EndedTrial(number, "finished", values[number], SETTINGS, "model", 100, "")
        for number in confirmed
    ]
    state = SearchState(
        metric="accuracy",
        sign=1.0,
        values=values,
        ranked=build_candidates(best, confirmed),
        baseline=0.70,
        noise=NOISE,
        final=True,
    )
    return {found.name: found for found in check_criteria(state._replace(**changes))}


def test_noise_floor() -> None:
    # sqrt(.75 * .25 / 300) = .025
    assert measure_noise("accuracy", 0.75, 300, 0.01) == (pytest.approx(0.025), 0.01)
    assert measure_noise("eval_loss", 0.75, 300, None) == (None, None)
    assert measure_noise("matthews", -0.1, 300, 0.01) == (None, 0.01)
    assert measure_noise("accuracy", 0.75, 0, 0.01) == (None, 0.01)


def test_the_gap_between_losses_is_a_share_of_the_defaults() -> None:
    name = "best-worst gap above 5 % of the default's eval_loss"
    loss = {"metric": "eval_loss", "sign": -1.0, "noise": Noise(None, 0.01)}
    close = check([2.00, 2.08], {0: [2.0, 2.0]}, baseline=2.0, **loss)[name]
    assert not close.met  # .08 is more than .05, but 4 % of the default's
    assert "; 4.0 % of 2.000" in close.detail
    assert check([2.00, 2.11], {0: [2.0, 2.0]}, baseline=2.0, **loss)[name].met
    assert check([0.100, 0.106], {0: [0.1, 0.1]}, baseline=0.1, **loss)[name].met


def test_clear_optimum_needs_two_standard_errors() -> None:
    # Each SE is .01 (.02 / sqrt 2 / sqrt 2), of the difference .01414; twice that is .0283.
    lead = {0: [0.84, 0.86], 1: [0.81, 0.83]}
    name = "clear optimum"
    assert check([0.85, 0.82], lead)[name].met
    assert "by 0.030 accuracy on fresh seeds; SE 0.014" in check([0.85, 0.82], lead)[name].detail
    close = {0: [0.84, 0.86], 1: [0.815, 0.835]}
    assert not check([0.85, 0.82], close)[name].met
    assert not check([0.85], {0: [0.84, 0.86]})[name].met
    assert not check([0.85, 0.82], lead, final=False)[name].met


def test_good_configuration_is_better_than_the_default_when_confirmed() -> None:
    name = "at least one good configuration"
    met = check([0.75, 0.65], {0: [0.72, 0.74]})[name]
    assert met.met
    assert met.detail.startswith(
        "1 of 2 finished trials beat the default's 0.700; the optimum's confirmed score by +0.030"
    )
    assert not check([0.75, 0.65], {0: [0.68, 0.70]})[name].met  # luck in the search
    assert check([0.75, 0.65], {0: []}, final=False)[name].met


def test_loss_counts_downwards() -> None:
    found = check([0.5, 0.9], {0: [0.5, 0.5]}, sign=-1.0)["at least one good configuration"]
    assert found.met
    assert "1 of 2" in found.detail


def test_gap_is_shown_beside_what_noise_gives() -> None:
    name = "best-worst gap above 5 %"
    found = check([0.80, 0.76], {0: [0.8, 0.8]})[name]
    assert not found.met
    # Two normal scores differ by 2 sd / sqrt(pi) on average; the larger noise is .02.
    assert f"would differ by {2 * 0.02 / math.sqrt(math.pi):.3f}" in found.detail
    assert check([0.80, 0.74], {0: [0.8, 0.8]})[name].met


def test_file_is_there_only_at_the_end() -> None:
    assert check([0.8], {0: []})["optimal.yaml exists"].met
    assert not check([0.8], {0: []}, final=False)["optimal.yaml exists"].met
