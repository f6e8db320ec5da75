"""What another library sees of a study, and what is said where it is missing."""

import sys
from collections.abc import Iterator
from typing import Any

import optuna
import pytest
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import TrialState

from phasewise.errors import ConfigError
from phasewise.recipes.sampler_benchmark import hyperopt_sampler
from phasewise.recipes.sampler_benchmark.guest_sampler import (
    Axis,
    Coordinates,
    GuestSampler,
    SuggestRequest,
    axis_of,
    decode,
    encode,
    fill_missing,
)
from phasewise.recipes.sampler_benchmark.hyperopt_sampler import build_hyperopt
from phasewise.recipes.sampler_benchmark.openbox_sampler import PYTHON_VARIABLE, build_openbox

RATE = FloatDistribution(1e-5, 1e-1, log=True)
DROPOUT = FloatDistribution(0.0, 0.3, step=0.1)
RANK = IntDistribution(4, 64, log=True)
EPOCHS = IntDistribution(1, 5, step=2)
BATCH = CategoricalDistribution([4, 8, 16])


@pytest.mark.parametrize(
    ("distribution", "axis", "value", "place"),
    [
        (RATE, Axis("continuous"), 1e-3, 0.5),
        (RATE, Axis("continuous"), 1e-1, 1.0),
        (DROPOUT, Axis("ordered", 4), 0.2, 2),
        (EPOCHS, Axis("ordered", 3), 5, 2),
        (BATCH, Axis("choice", 3), 8, 1),
    ],
)
def test_value_and_place_name_each_other(
    distribution: BaseDistribution, axis: Axis, value: Any, place: float
) -> None:
    assert axis_of(distribution) == axis
    assert encode(distribution, value) == pytest.approx(place)
    assert decode(distribution, place) == pytest.approx(value)


def test_logarithmic_whole_numbers_fill_the_axis_and_come_back() -> None:
    values = range(4, 65)
    assert [decode(RANK, encode(RANK, value)) for value in values] == list(values)
    assert (decode(RANK, 0.0), decode(RANK, 1.0)) == (4, 64)


def test_value_out_of_range_gets_the_nearest_place() -> None:
    assert (encode(RATE, 1.0), encode(EPOCHS, 9), encode(EPOCHS, 0)) == (1.0, 2, 0)


def test_missing_parameter_is_put_in_the_middle() -> None:
    axes = {"a": Axis("continuous"), "b": Axis("ordered", 5), "c": Axis("choice", 3)}
    assert fill_missing(axes, {"b": 0}) == {"a": 0.5, "b": 0, "c": 1}


def _study() -> tuple[optuna.Study, list[SuggestRequest]]:
    asked: list[SuggestRequest] = []

    def propose(request: SuggestRequest) -> Iterator[Coordinates]:
        asked.append(request)
        yield {"rate": 0.5, "batch": 2}
        yield {"rate": 1.0, "batch": 0}

    study = optuna.create_study(
        direction="maximize", sampler=GuestSampler(propose, startup=2, seed=1)
    )
    return study, asked


def test_library_is_told_losses_prunings_and_what_runs() -> None:
    study, asked = _study()
    for value in (0.7, None):
        trial = study.ask({"rate": RATE, "batch": BATCH})
        study.tell(trial, value, state=None if value else TrialState.PRUNED)
    running = study.ask({"rate": RATE, "batch": BATCH})
    assert running.params == {"rate": pytest.approx(1e-3), "batch": 16}
    study.ask({"rate": RATE, "batch": BATCH})
    request = asked[-1]
    assert request.axes == {"batch": Axis("choice", 3), "rate": Axis("continuous")}
    assert [each.loss for each in request.ended] == [-0.7, None]
    assert request.running == ({"rate": pytest.approx(0.5), "batch": 2},)


def test_proposal_that_is_refused_is_followed_by_the_next() -> None:
    study, _ = _study()
    for _ in range(2):
        study.tell(study.ask({"rate": RATE, "batch": BATCH}), 0.5)
    sampler, trial = study.sampler, study.get_trials()[0]
    space = sampler.infer_relative_search_space(study, trial)
    first, second = (sampler.sample_relative(study, trial, space) for _ in range(2))
    assert (first["batch"], second["batch"]) == (16, 4)


def test_start_is_random_and_asks_nobody() -> None:
    study, asked = _study()
    for _ in range(2):
        study.tell(study.ask({"rate": RATE, "batch": BATCH}), 0.5)
    assert not asked


def test_missing_hyperopt_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hyperopt_sampler, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'phasewise\[hyperopt\]'"):
        build_hyperopt(1)


@pytest.mark.parametrize(
    ("python", "reason"),
    [
        ("", "is not set"),
        ("/nowhere/python", "No such file"),
        (sys.executable, "no package openbox"),
    ],
)
def test_missing_openbox_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, python: str, reason: str
) -> None:
    monkeypatch.setenv(PYTHON_VARIABLE, python)
    with pytest.raises(ConfigError, match=r"pip install openbox==0\.9\.0") as caught:
        build_openbox(1)
    assert reason in str(caught.value)
