"""Coarse to refined: narrowed ranges, the optimum first, both on record."""

import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import TypeAdapter

from fake_pool import FakePool, write_tuning_study
from phasewise.errors import ConfigError
from phasewise.recipes.refinement.ranges import (
    narrow,
    refine,
    unfinished_sources,
)
from phasewise.recipes.refinement.study import write_refined_study
from phasewise.records import read_record
from phasewise.settings import Parameter, load_study
from phasewise.summaries import RangeFlag
from phasewise.tuning.search import search_unit
from phasewise.tuning.units import Unit

_PARAMETER: TypeAdapter[Any] = TypeAdapter(Parameter)


def parse(**content: Any) -> Any:
    return _PARAMETER.validate_python(content)


@pytest.mark.parametrize(
    ("parameter", "values", "expected"),
    [
        # 4 decades, margin 0.6 of one
        (parse(type="log_uniform", min=1e-5, max=1e-1), [1e-3, 1e-2], (10**-3.6, 10**-1.4)),
        (parse(type="uniform", min=0, max=1), [0.5], (0.35, 0.65)),
        (parse(type="uniform", min=0, max=1), [0.05, 2.0], (0, 1)),
        (parse(type="uniform", min=0, max=1, step=0.25), [0.5], (0.25, 0.75)),
        (parse(type="int", min=1, max=11), [4, 5], (2, 7)),
        (parse(type="int", min=1, max=3), [2], (1, 3)),
    ],
)
def test_range_shrinks_to_the_good_values_and_a_margin(
    parameter: Any, values: list[Any], expected: tuple[float, float]
) -> None:
    narrowed: Any = narrow(parameter, values)
    assert (narrowed.min, narrowed.max) == pytest.approx(expected)


def test_list_of_numbers_keeps_one_more_on_each_side_and_words_only_the_good() -> None:
    ranks = parse(type="categorical", values=[4, 8, 16, 32, 64])
    narrowed: Any = narrow(ranks, [16])
    assert narrowed.values == (8, 16, 32)
    words = parse(type="categorical", values=["all", "mlp", "core"])
    kept: Any = narrow(words, ["mlp", "all"])
    assert kept.values == ("all", "mlp")
    assert narrow(words, []) == words


def test_flagged_side_reaches_beyond_the_old_range() -> None:
    flag = RangeFlag(parameter="learning_rate", value=1e-1, edge="max", proposed=(1e-5, 1.0))
    narrowed: Any = narrow(parse(type="log_uniform", min=1e-5, max=1e-1), [0.1, 0.05], flag)
    assert narrowed.max == 1.0
    assert narrowed.min > 1e-3


def test_refined_search_starts_at_the_coarse_winner_in_narrower_ranges(tmp_path: Path) -> None:
    coarse = write_tuning_study(tmp_path, trials=12)
    first = search_unit(coarse, "toy", "lora", pool_factory=FakePool)
    content = yaml.safe_load(coarse.path.read_text())
    content |= {"name": "refined", "analysis_dir": str(tmp_path / "analysis2")}
    content["search"] |= {"refine_from": "study.yaml", "trials": 8}
    path = tmp_path / "refined.yaml"
    path.write_text(yaml.safe_dump(content))
    refined = load_study(path)
    source = Unit(coarse, "toy", "lora").paths.summary("phase0")
    target = Unit(refined, "toy", "lora").paths.summary("phase0")
    target.parent.mkdir(parents=True)
    target.write_text(source.read_text())
    second = search_unit(refined, "toy", "lora", pool_factory=FakePool)
    unit = Unit(refined, "toy", "lora")
    record = read_record(unit.paths.run("phase1", "trial-000"))
    assert record is not None
    chosen = record.config.hyperparameters.model_dump()
    assert first.best_hyperparameters.items() <= chosen.items()
    origin = second.refined_from
    assert origin is not None
    assert (origin.study, origin.best_trial) == ("tuned", first.best_trial)
    low, high = (math.log10(float(end)) for end in origin.ranges["learning_rate"])
    assert high - low < 3
    assert low < math.log10(first.best_hyperparameters["learning_rate"]) < high
    assert unit.space.parameters["learning_rate"].model_dump()["min"] == pytest.approx(10**low)
    assert second.best_value >= first.best_value


def test_several_objectives_have_no_best_quarter(tmp_path: Path) -> None:
    coarse = write_tuning_study(tmp_path, objective="multi:accuracy,train_seconds")
    refined = load_study(write_refined_study(coarse.path, 4))
    for ask in (refine, unfinished_sources):
        with pytest.raises(ConfigError, match=r"searched multi:accuracy,train_seconds; .* no sing"):
            ask(refined, "toy", "lora")
        with pytest.raises(ConfigError, match="has no unit other/lora"):
            ask(refined, "other", "lora")


def test_what_comes_first_is_listed_from_the_coarsest_on(tmp_path: Path) -> None:
    coarse = write_tuning_study(tmp_path, trials=4)
    middle = load_study(write_refined_study(coarse.path, 4))
    last = load_study(write_refined_study(middle.path, 4))
    assert last.settings.name == "tuned_refined_refined"
    due = unfinished_sources(last, "toy", "lora")
    assert [study.path.resolve() for study in due] == [coarse.path, middle.path]
    search_unit(coarse, "toy", "lora", pool_factory=FakePool)
    due = unfinished_sources(last, "toy", "lora")
    assert [study.path.resolve() for study in due] == [middle.path]
    assert not unfinished_sources(coarse, "toy", "lora")


def test_a_study_that_refines_itself_is_refused(tmp_path: Path) -> None:
    coarse = write_tuning_study(tmp_path, refine_from="refined/study.yaml")
    write_refined_study(coarse.path, 4)
    with pytest.raises(ConfigError, match=r"study.yaml -> study.yaml .*goes round in a circle"):
        unfinished_sources(coarse, "toy", "lora")


def test_refining_before_the_coarse_search_has_ended_names_the_command(tmp_path: Path) -> None:
    coarse = write_tuning_study(tmp_path)
    content = yaml.safe_load(coarse.path.read_text())
    content["search"]["refine_from"] = "coarse.yaml"
    (tmp_path / "coarse.yaml").write_text(coarse.path.read_text())
    coarse.path.write_text(yaml.safe_dump(content))
    refined = load_study(coarse.path)
    with pytest.raises(ConfigError, match=r"has not ended .* phasewise search --study .*coarse"):
        search_unit(refined, "toy", "lora", pool_factory=FakePool)
