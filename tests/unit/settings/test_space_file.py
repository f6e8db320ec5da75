"""Search-space files of both forms, and how bad ones are refused."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from phasewise.errors import ConfigError
from phasewise.settings import (
    REGISTRY,
    MethodSettings,
    load_space,
    read_yaml,
    registry_names,
)
from phasewise.settings.space_file import read_space


def _read_method(name: str) -> MethodSettings:
    return MethodSettings(name=name, **read_yaml(REGISTRY / "methods" / f"{name}.yaml"))


LORA, FULL = _read_method("lora"), _read_method("full_finetune")

#: The example of the LLM guide, letter by letter.
DOCUMENTED = """\
training:
  learning_rate:
    type: "log_uniform"
    min: 1e-6
    max: 1e-4
  batch_size:
    type: "categorical"
    values: [1, 2, 4, 8]
  num_train_epochs:
    type: "int"
    min: 1
    max: 5
  warmup_ratio:
    type: "uniform"
    min: 0.03
    max: 0.1
  weight_decay:
    type: "log_uniform"
    min: 0.001
    max: 0.1

lora:
  r:
    type: "categorical"
    values: [8, 16, 32, 64]
  alpha:
    type: "categorical"
    values: [16, 32, 64, 128]
  dropout:
    type: "uniform"
    min: 0.0
    max: 0.2
"""


@pytest.fixture
def space_file(tmp_path: Path) -> Path:
    return tmp_path / "space.yaml"


def test_documented_example_is_read_as_written(space_file: Path) -> None:
    space_file.write_text(DOCUMENTED)
    space = read_space(space_file, "space")
    lora, full = space.parameters_of(LORA), space.parameters_of(FULL)
    assert list(full) == ["learning_rate", "batch_size", "epochs", "warmup_ratio", "weight_decay"]
    assert list(lora)[5:] == ["lora_rank", "lora_alpha", "lora_dropout"]
    rate: Any = lora["learning_rate"]
    assert (rate.type, rate.min, rate.max) == ("log_uniform", 1e-6, 1e-4)
    assert lora["lora_rank"].model_dump()["values"] == (8, 16, 32, 64)


def test_quoted_numbers_are_numbers(space_file: Path) -> None:
    text = DOCUMENTED.replace("min: 1e-6", 'min: "1e-6"').replace("[1, 2,", '["1", "2",')
    space_file.write_text(text)
    lora = read_space(space_file, "space").parameters_of(LORA)
    assert lora["learning_rate"].model_dump()["min"] == 1e-6
    assert lora["batch_size"].model_dump()["values"] == (1, 2, 4, 8)


def test_conditions_put_parents_first_and_short_names_are_ours(space_file: Path) -> None:
    space_file.write_text(
        DOCUMENTED
        + "    when: r > 8 and lr_scheduler_type == 'cosine'\n"
        + "  target_modules: {type: categorical, values: [all, mlp]}\n"
        + "constraints: [alpha >= r, num_train_epochs * batch_size <= 16]\n"
    )
    text = space_file.read_text().replace(
        "\nlora:", "  lr_scheduler_type: {type: categorical, values: [cosine, linear]}\nlora:"
    )
    space_file.write_text(text)
    space = read_space(space_file, "space")
    names = list(space.parameters_of(LORA))
    assert names.index("lora_dropout") > names.index("lr_scheduler_type")
    condition = space.parameters_of(LORA)["lora_dropout"].when
    assert condition == "lora_rank > 8 and lr_scheduler_type == 'cosine'"
    assert space.constraints == ("lora_alpha >= lora_rank", "epochs * batch_size <= 16")
    assert space.constraints_on(space.parameters_of(FULL)) == ("epochs * batch_size <= 16",)


@pytest.mark.parametrize(
    ("old", "new", "line", "expected"),
    [
        ("max: 1e-4", "max: 1e-7", 2, "training.learning_rate: min 1e-06 must be below max 1e-07"),
        (
            '"log_uniform"\n    min: 1e',
            '"loguniform"\n    min: 1e',
            3,
            "did you mean 'log_uniform'",
        ),
        ("min: 0.001", "min: 0", 17, "training.weight_decay: log_uniform needs min > 0, got 0"),
        ("max: 5", "maxi: 5", 12, "unknown key 'maxi'; did you mean 'max'?"),
        ("max: 5", "max: 5.5", 9, "int needs whole min and max"),
        ("max: 5", "max: five", 12, "max: input should be a valid number"),
        ("dropout:", "droput:", 29, "unknown hyperparameter; did you mean 'dropout'?"),
        ("max: 0.2", "max: 1.2", 29, "input should be less than 1, got 1.2"),
        ("max: 0.2", "max: 0.2\n    when: rr > 8", 29, "names 'rr', which is not in the space"),
        ("max: 0.2", "max: 0.2\n    when: beta > 8", 29, "names 'beta', which is not in the space"),
        ("max: 0.2", "max: 0.2\n    when: r.x > 8", 29, "is not allowed"),
        ("max: 0.2", "max: 0.2\n    when: r > 'a'", 29, "cannot be computed with lora_rank=8"),
        ("max: 0.2", "max: 0.2\nconstraints: [alpha >= s]", 33, "names 's', which is not in"),
        ("max: 0.2", "max: 0.2\nconstraints: alpha >= r", 33, "expected a list of comparisons"),
        ("lora:", "loar:", 22, "unknown key; did you mean 'lora'?"),
        ('  r:\n    type: "categorical"\n    values: [8, 16, 32, 64]', "  r: 8", 23, "got 8; one"),
        ("values: [8, 16, 32, 64]", "values: []", 25, "at least 1 item"),
        ("dropout:", "rank:", 29, "lora_rank is given twice, by two of its names"),
    ],
)
def test_bad_space_is_refused_by_name_and_line(
    space_file: Path, old: str, new: str, line: int, expected: str
) -> None:
    assert old in DOCUMENTED
    space_file.write_text(DOCUMENTED.replace(old, new, 1))
    with pytest.raises(ConfigError) as caught:
        read_space(space_file, "space")
    message = str(caught.value)
    assert message.startswith(f"{space_file}: line {line}: "), message
    assert expected in message


def test_cycle_of_conditions_is_shown(space_file: Path) -> None:
    content = yaml.safe_load(DOCUMENTED)
    content["lora"]["r"]["when"] = "dropout > 0.1"
    content["lora"]["dropout"]["when"] = "alpha > 16"
    content["lora"]["alpha"]["when"] = "r > 8"
    space_file.write_text(yaml.safe_dump(content, sort_keys=False))
    with pytest.raises(ConfigError, match=r"line \d+: .*cycle: .*lora_rank -> lora_dropout"):
        read_space(space_file, "space")


@pytest.mark.parametrize("text", ["", "# nothing\n", "training:\nlora:\n"])
def test_empty_file_says_what_is_expected(space_file: Path, text: str) -> None:
    space_file.write_text(text)
    with pytest.raises(ConfigError, match=r"space\.yaml: .*expected `spaces:`"):
        read_space(space_file, "space")


def test_parameters_without_effect_are_noted_and_others_refused(space_file: Path) -> None:
    extra = "  dataloader_num_workers: {type: int, min: 0, max: 8}\n"
    space_file.write_text(DOCUMENTED.replace("\nlora:", extra + "\nlora:"))
    space = read_space(space_file, "space")
    assert "dataloader_num_workers" not in str(space.spaces)
    assert "training.dataloader_num_workers cannot change a score" in space.notes[0]
    space_file.write_text(
        DOCUMENTED.replace("\nlora:", "  validation_split_percentage: {}\n\nlora:")
    )
    with pytest.raises(ConfigError, match="changes which examples are scored"):
        read_space(space_file, "space")


def test_a_method_without_a_section_draws_what_it_takes_of_the_default_one(
    space_file: Path,
) -> None:
    rate = "{learning_rate: {type: uniform, min: 0.1, max: 0.2}"
    shared = f"{rate}, lora_rank: {{type: int, min: 1, max: 8}}}}"
    space_file.write_text(f"spaces:\n  lora: {rate}}}\n  default: {shared}\n")
    space = read_space(space_file, "space")
    assert list(space.parameters_of(LORA)) == ["learning_rate"]
    assert list(space.parameters_of(FULL)) == ["learning_rate"]
    dora = _read_method("dora")
    assert list(space.parameters_of(dora)) == ["learning_rate", "lora_rank"]
    assert space.notes_on(LORA) == ()
    assert space.notes_on(dora) == (
        "dora: search space 'space' has no section 'dora'; its section 'default' is used",
    )
    space_file.write_text(f"spaces:\n  lora: {rate}}}\n")
    with pytest.raises(ValueError, match=r"no section 'dora', which method 'dora' needs, .*lora$"):
        read_space(space_file, "space").parameters_of(dora)


def test_every_registered_space_is_read() -> None:
    assert {"documented", "recommended", "demo"} <= set(registry_names("spaces"))
    for name in registry_names("spaces"):
        assert load_space(name, Path("study.yaml")).spaces
