"""Which engine trains a unit, and the reason that `plan` prints."""

from collections.abc import Callable
from typing import Any

import pytest

from phasewise.cli.inspect import plan
from phasewise.runs import build_unit, phase_hash
from phasewise.settings import MethodSettings, Study, TrainingSettings, describe_meaning
from phasewise.training.choice import choose_engine, needs_bitsandbytes
from phasewise.tuning.units import Unit


@pytest.mark.parametrize(
    ("method", "engine", "reason"),
    [
        ({"kind": "lora"}, "packed", ""),
        ({"kind": "lora", "use_dora": True}, "packed", ""),
        ({"kind": "lora", "quantization": "nf4"}, "packed", ""),
        ({"kind": "lora", "quantization": "int8"}, "packed", ""),
        ({"kind": "frozen"}, "packed", ""),
        ({"kind": "full"}, "trainer", "every weight trains, so runs share no base model"),
    ],
)
def test_choice_follows_from_the_method(
    write_study: Callable[..., Study], method: dict[str, Any], engine: str, reason: str
) -> None:
    task = write_study().tasks["rotten_tomatoes"]
    settings = MethodSettings(name="m", space="lora", source="test", defaults={}, **method)
    assert choose_engine(task, settings, TrainingSettings()) == (engine, reason)
    forced = choose_engine(task, settings, TrainingSettings(engine="trainer"))
    assert forced == ("trainer", "training.engine is trainer")


@pytest.mark.parametrize(
    ("kind", "reason"),
    [("instruction", ""), ("extractive_qa", "the packed engine does not know the loss of")],
)
def test_choice_follows_from_the_kind_of_task(
    write_study: Callable[..., Study], kind: str, reason: str
) -> None:
    study = write_study()
    task = study.tasks["rotten_tomatoes"].model_copy(update={"kind": kind, "packing": True})
    choice = choose_engine(task, study.methods["lora"], TrainingSettings())
    assert choice.engine == ("trainer" if reason else "packed")
    assert choice.obstacle.startswith(reason)


@pytest.mark.parametrize(
    ("training", "reason"),
    [
        ({"gradient_checkpointing": True}, "training.gradient_checkpointing: "),
        ({"attention": "eager"}, "training.attention is eager: "),
        ({"optimizer": "adamw_8bit"}, "training.optimizer is adamw_8bit: "),
        ({}, ""),
    ],
)
def test_what_only_transformers_trainer_does_trains_alone(
    write_study: Callable[..., Study], training: dict[str, Any], reason: str
) -> None:
    study = write_study(training=training)
    choice = Unit(study, "rotten_tomatoes", "lora").engine
    assert choice.engine == ("trainer" if reason else "packed")
    assert choice.obstacle.startswith(reason)


@pytest.mark.parametrize("quantization", ["none", "nf4", "int8"])
@pytest.mark.parametrize("optimizer", ["adamw", "adamw_8bit"])
def test_weights_or_moments_in_few_bits_need_bitsandbytes(
    quantization: Any, optimizer: Any
) -> None:
    method = MethodSettings(
        name="m", kind="lora", space="lora", source="", defaults={}, quantization=quantization
    )
    needed = quantization != "none" or optimizer != "adamw"
    assert needs_bitsandbytes(method, TrainingSettings(optimizer=optimizer)) is needed


def test_plan_names_the_engine_of_each_unit(
    write_study: Callable[..., Study], capsys: pytest.CaptureFixture[str]
) -> None:
    plan(write_study().path)
    lines = capsys.readouterr().out.splitlines()
    assert any("lora" in line and "packed" in line for line in lines)
    assert any("full" in line and "trainer" in line for line in lines)
    assert any(line.startswith("rotten_tomatoes/full_finetune trains one run") for line in lines)


def test_the_engine_and_its_slots_are_no_part_of_a_run_s_identity(
    write_study: Callable[..., Study],
) -> None:
    def identity(**changes: Any) -> tuple[Any, ...]:
        study = write_study(**changes)
        meaning = describe_meaning(build_unit(study, "rotten_tomatoes", "lora"))
        return meaning, phase_hash(study, "phase1", "rotten_tomatoes", "lora")

    search = {"trials": 4, "space": "demo"}
    same = identity(
        training={"engine": "trainer"},
        machine={"device": "cpu", "slots": 3},
        search={**search, "parallel_trials": 3},
    )
    assert same == identity()
    assert same != identity(training={"max_grad_norm": 0.5})


@pytest.mark.parametrize(
    ("search", "reason"),
    [
        ({"memory_constraint_gb": 2.0}, "search.memory_constraint_gb needs"),
        ({"objective": "multi:accuracy,memory_gb"}, "search.objective needs memory_gb"),
        ({"objective": "pareto:accuracy,train_seconds"}, "search.objective needs train_seconds"),
        ({"objective": "multi:accuracy,adapter_mb"}, ""),
    ],
)
def test_a_search_that_decides_by_shared_costs_trains_its_runs_alone(
    write_study: Callable[..., Study], search: dict[str, Any], reason: str
) -> None:
    study = write_study(search={"trials": 4, "space": "demo", **search})
    unit = Unit(study, "rotten_tomatoes", "lora")
    assert unit.engine.obstacle.startswith(reason)
    assert bool(unit.engine.obstacle) == bool(reason)
    assert unit.config.training.engine == ("trainer" if reason else "auto")
