"""What `check` and `plan` say of a study that names what is not installed."""

from collections.abc import Callable
from pathlib import Path

import pytest

from fake_pool import FakePool, write_tuning_study
from phasewise.cli.checking import check
from phasewise.cli.inspect import plan
from phasewise.errors import ConfigError
from phasewise.recipes.sampler_benchmark import hyperopt_sampler
from phasewise.recipes.sampler_benchmark.openbox_sampler import PYTHON_VARIABLE
from phasewise.recipes.sampler_benchmark.section import benchmark_settings
from phasewise.recipes.sampler_benchmark.unit import benchmark_unit
from phasewise.settings import SamplerName, Study
from phasewise.tuning.search import search_unit

INSTALL = {
    "hyperopt": r"sampler hyperopt needs .* pip install 'phasewise\[hyperopt\]'",
    "openbox": rf"sampler openbox needs .* \({PYTHON_VARIABLE} is not set\)",
}


@pytest.fixture(params=list(INSTALL))
def absent(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> SamplerName:
    """An optional sampler that is not installed."""
    monkeypatch.setattr(hyperopt_sampler, "find_spec", lambda name: None)
    monkeypatch.delenv(PYTHON_VARIABLE, raising=False)
    name: SamplerName = request.param
    return name


def test_check_refuses_a_sampler_that_is_not_installed(
    write_study: Callable[..., Study], absent: SamplerName
) -> None:
    path = write_study(search={"trials": 4, "space": "demo", "sampler": absent}).path
    with pytest.raises(ConfigError, match=INSTALL[absent]):
        check(path)


def test_a_plan_says_what_is_to_be_installed_and_goes_on(
    write_study: Callable[..., Study], absent: SamplerName, capsys: pytest.CaptureFixture[str]
) -> None:
    plan(write_study(search={"trials": 4, "space": "demo", "sampler": absent}).path)
    printed = " ".join(capsys.readouterr().out.split())
    assert f"not ready: sampler {absent} needs" in printed
    assert "2 units" in printed


def test_nothing_is_trained_for_a_sampler_that_is_not_installed(
    tmp_path: Path, absent: SamplerName
) -> None:
    study, pool = write_tuning_study(tmp_path, sampler=absent), FakePool()
    with pytest.raises(ConfigError, match=INSTALL[absent]):
        search_unit(study, "toy", "lora", pool_factory=lambda: pool)
    assert not pool.started
    chosen = benchmark_settings(study).model_copy(update={"samplers": ("random", absent)})
    settings = study.settings.model_copy(update={"sampler_benchmark": chosen})
    study = Study(study.path, settings, study.tasks, study.methods, study.space)
    with pytest.raises(ConfigError, match=INSTALL[absent]):
        benchmark_unit(study, "toy", "lora")
