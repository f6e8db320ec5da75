from pathlib import Path

import pytest
from typer.testing import CliRunner

from phasewise.cli.app import app
from phasewise.errors import ConfigError
from phasewise.recipes.presets.settings import load_focus, load_preset, load_strategy
from phasewise.settings import registry_names

MINIMAL = {
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "lora_alpha",
    "block_size",
    "warmup_steps",
}
FOCUSED = MINIMAL | {"lora_dropout", "weight_decay"}
PROGRESSIVE = FOCUSED | {"lr_scheduler_type", "dataloader_num_workers"}
COMPREHENSIVE = PROGRESSIVE | {
    "preprocessing_num_workers",
    "deepspeed_config",
    "logging_steps",
    "save_steps",
    "validation_split_percentage",
}
IDLE = COMPREHENSIVE - PROGRESSIVE - {"validation_split_percentage"} | {"dataloader_num_workers"}


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("minimal", MINIMAL),
        ("focused", FOCUSED),
        ("progressive", PROGRESSIVE),
        ("comprehensive", COMPREHENSIVE),
    ],
)
def test_strategies_are_the_documented_nested_sets(name: str, parameters: set[str]) -> None:
    strategy = load_strategy(name)
    assert set(strategy.parameters) == parameters
    assert len(strategy.parameters) == len(parameters)
    space = strategy.build_space(None)
    searched = {p for s in ("training", "lora", "data") for p in space.get(s, {})}
    assert searched == parameters - IDLE - {"validation_split_percentage"}
    assert set(strategy.left_out) == parameters - searched


def test_the_nine_presets_are_as_documented() -> None:
    found = {
        name: (preset.strategy, preset.trials, preset.focus, preset.modules)
        for name in registry_names("presets")
        for preset in [load_preset(name)]
    }
    focuses = ("roleplay", "reasoning", "function_calling", "rag")
    assert found == {
        "quick": ("minimal", 8, None, "given"),
        "focused": ("focused", 15, None, "given"),
        **{name: ("focused", 15, name, "given") for name in focuses},
        "progressive": ("progressive", 25, None, "given"),
        "comprehensive": ("comprehensive", 40, None, "given"),
        "modules_only": ("minimal", 12, None, "only"),
    }


@pytest.mark.parametrize(
    ("name", "modules", "parameters"),
    [
        ("roleplay", "query+value+gate+down+lm_head", {"lora_alpha", "lora_dropout"}),
        ("reasoning", "query+key+value+output+gate", {"block_size", "weight_decay"}),
        ("function_calling", "query+value+down+lm_head", {"lora_dropout", "warmup_steps"}),
        (
            "rag",
            "embedding+query+key+value+gate",
            {"block_size", "gradient_accumulation_steps"},
        ),
    ],
)
def test_a_focus_has_its_modules_and_widens_its_parameters(
    name: str, modules: str, parameters: set[str]
) -> None:
    focus = load_focus(name)
    assert focus.key_modules == modules
    assert set(focus.key_parameters) == parameters
    wider = {p: body for section in focus.ranges.values() for p, body in section.items()}
    assert set(wider) == parameters
    strategy = load_strategy("focused")
    space = strategy.build_space(focus)
    for section, own in focus.ranges.items():
        for parameter, body in own.items():
            assert space[section][parameter] == body
            assert body != getattr(strategy, section)[parameter]


def test_presets_and_strategies_may_be_files(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(
        "description: d\nextends: minimal\ntraining:\n"
        "  learning_rate: {type: log_uniform, min: 1e-5, max: 1e-3}\n"
    )
    (tmp_path / "mine.yaml").write_text("description: d\nstrategy: own.yaml\ntrials: 5\n")
    preset = load_preset(str(tmp_path / "mine.yaml"))
    assert (preset.name, preset.trials) == ("mine", 5)
    assert set(load_strategy(preset.strategy).parameters) == MINIMAL | {"learning_rate"}


def test_the_list_shows_what_a_preset_is() -> None:
    done = CliRunner().invoke(app, ["list", "presets"])
    line = next(each for each in done.output.splitlines() if each.strip().startswith("progressive"))
    assert line.split()[:5] == ["progressive", "progressive", "25", "6-8", "h"]


def test_unknown_names_get_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'quick'"):
        load_preset("quik")
