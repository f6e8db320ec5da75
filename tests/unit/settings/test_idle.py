"""Settings that change nothing: `plan` and `check` say which, with the numbers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from phasewise.cli.checking import check
from phasewise.cli.inspect import plan
from phasewise.settings import Study, describe_idle_settings, load_study, merge_mappings

Writer = Callable[..., Study]
TASK = "rotten_tomatoes"  # 32 rows to train
RATE = {"learning_rate": {"type": "log_uniform", "min": 1e-5, "max": 1e-2}}
FIVE_STEPS = {"batch_size": 32, "epochs": 5}


@pytest.fixture
def tell(
    write_study: Writer, study_content: dict[str, Any], tmp_path: Path
) -> Callable[..., list[str]]:
    """Returns what is said of a study of LoRA, whose space draws a rate and what is given."""

    def tell_of(
        space: dict[str, Any] | None = None, fixed: bool = True, **changes: Any
    ) -> list[str]:
        content = {"source": "test", "spaces": {"lora": {**RATE, **(space or {})}}}
        (tmp_path / "space.yaml").write_text(yaml.safe_dump(content))
        base = {**study_content, "methods": {"lora": {}}}
        search = {"trials": 6, "space": "space.yaml", "fixed": FIVE_STEPS if fixed else {}}
        study = write_study(**merge_mappings({**base, "search": search}, changes))
        return describe_idle_settings(study, study.units_of("all"), {TASK: 32})

    return tell_of


def test_a_study_of_settings_that_matter_is_told_nothing(tell: Callable[..., list[str]]) -> None:
    assert tell() == []


def _ratio(low: float, high: float) -> dict[str, Any]:
    return {"warmup_ratio": {"type": "uniform", "min": low, "max": high}}


LONG = "rotten_tomatoes/lora: 100 steps of warm-up in a training of 5 steps: its rate ends at 4 %"


@pytest.mark.parametrize(
    ("space", "changes", "told"),
    [
        ({}, {"search": {"fixed": {"warmup_steps": 100}}}, LONG),
        ({}, {"methods": {"lora": {"defaults": {"warmup_steps": 100}}}}, LONG),
        ({"warmup_steps": {"type": "int", "min": 0, "max": 100}}, {}, LONG),
        (
            {},
            {"search": {"fixed": {"epochs": 1, "warmup_ratio": 0.1}}},
            "1 step of warm-up in a training of 1 step: its rate ends at 0 % of learning_rate",
        ),
        (
            _ratio(0.0, 0.2),
            {},
            "warmup_ratio 0 to 0.2 is searched, which is 1 step in each training of at most 5",
        ),
        (
            {},
            {"search": {"fixed": {"batch_size": 64}}},
            "batch_size 64: the train sample has 32 rows",
        ),
        (
            {},
            {"training": {"evaluations_per_epoch": 4}, "search": {"fixed": {"batch_size": 16}}},
            "training.evaluations_per_epoch 4: an epoch of rotten_tomatoes/lora can have 2 steps",
        ),
        (
            {},
            {"search": {"pruner": "hyperband", "fixed": {"epochs": 1, "warmup_ratio": 0}}},
            "search.pruner hyperband: trainings of rotten_tomatoes/lora are scored once, at their",
        ),
        (
            {},
            {"search": {"pruner": "median", "trials": 4}},
            "search.pruner median: stops no trial before 4 have ended, and search.trials is 4",
        ),
        ({}, {"search": {"pruning_factor": 4}}, "search.pruning_factor 4: pruner median has none"),
        (
            {},
            {"search": {"fixed": {"loraplus_lr_ratio": 4}}},
            "search.fixed.loraplus_lr_ratio: no method of the study takes it",
        ),
        (
            {"loraplus_lr_ratio": {"type": "categorical", "values": [4, 16]}},
            {},
            "search space of 'lora': loraplus_lr_ratio: the method takes none",
        ),
        (
            {},
            {"methods": {"lora": {"defaults": {"loraplus_lr_ratio": 4}}}},
            "methods.lora.defaults.loraplus_lr_ratio: the method takes none",
        ),
        (
            {},
            {"methods": {"lora": {"defaults": {"gradient_accumulation_steps": 4}}}},
            "methods.lora.defaults.gradient_accumulation_steps: multiplies device_batch_size",
        ),
        (
            {
                "lr_scheduler_type": {
                    "type": "categorical",
                    "values": ["constant", "linear", "constant_with_warmup"],
                }
            },
            {},
            "lr_scheduler_type: constant and constant_with_warmup are the same",
        ),
        (
            {"learning_rate": {"type": "categorical", "values": [1e-4, 1e-3]}, **_ratio(0, 0.9)},
            {"search": {"fixed": {"warmup_ratio": 0.1}}},
            "search space of 'lora': 2 different draws for search.trials 6",
        ),
        (
            {},
            {"tasks": {TASK: {"doc_stride": 8}}},
            "tasks.rotten_tomatoes.doc_stride: for extractive_qa alone; the task is classification",
        ),
        (
            {},
            {"tasks": {TASK: {"search_fraction": 0.5}}},
            "tasks.rotten_tomatoes.search_fraction: search_rows decides how many rows",
        ),
    ],
)
def test_a_setting_without_effect_is_told_with_numbers(
    space: dict[str, Any], changes: dict[str, Any], told: str, tell: Callable[..., list[str]]
) -> None:
    (line,) = tell(space, **changes)
    assert told in line


def test_warmup_that_the_shortest_training_alone_is_too_short_for_is_told(
    tell: Callable[..., list[str]],
) -> None:
    space = {
        "warmup_steps": {"type": "fixed", "value": 8},
        "batch_size": {"type": "categorical", "values": [4, 32]},
    }
    defaults = {"epochs": 3}  # 3 steps to 24
    (line,) = tell(space, fixed=False, methods={"lora": {"defaults": defaults}})
    assert "8 steps of warm-up in a training of 3 steps: its rate ends at 25 %" in line
    space["warmup_steps"]["value"] = 2
    assert tell(space, fixed=False, methods={"lora": {"defaults": defaults}}) == []


def test_a_fixed_alpha_holds_where_its_ratio_is_searched(
    tell: Callable[..., list[str]], tmp_path: Path
) -> None:
    """A ratio that the space draws overwrote it in every trial, and the other way around."""
    ratio = {"lora_alpha_over_rank": {"type": "categorical", "values": [1, 2]}}
    tell(ratio, search={"fixed": {"lora_alpha": 32}})
    study = load_study(tmp_path / "study.yaml")
    assert set(study.parameters_of("lora")) == {"learning_rate", "lora_alpha", *FIVE_STEPS}
    assert study.default_hyperparameters(TASK, "lora").lora_alpha == 32
    alpha = {"lora_alpha": {"type": "categorical", "values": [4, 8]}}
    tell(alpha, search={"fixed": {"lora_alpha_over_rank": 2}})
    names = set(load_study(tmp_path / "study.yaml").parameters_of("lora"))
    assert names == {"learning_rate", "lora_alpha_over_rank", *FIVE_STEPS}


def test_a_fixed_batch_size_holds_over_a_default_per_device(write_study: Writer) -> None:
    defaults = {"device_batch_size": 4, "gradient_accumulation_steps": 2}
    study = write_study(
        methods={"lora": {"defaults": defaults}},
        search={"space": "demo", "fixed": {"batch_size": 32}},
    )
    assert study.default_hyperparameters(TASK, "lora").batch_size == 32


def test_plan_and_check_tell(write_study: Writer, capsys: pytest.CaptureFixture[str]) -> None:
    search = {"trials": 6, "space": "demo", "fixed": {**FIVE_STEPS, "warmup_steps": 100}}
    path = write_study(methods={"lora": {}}, search=search).path
    for command in (plan, check):
        command(path)
        assert f"no effect: {LONG}" in capsys.readouterr().out
