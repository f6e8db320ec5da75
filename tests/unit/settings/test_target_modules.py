import re
from pathlib import Path

import pytest
import yaml

from phasewise.errors import ConfigError
from phasewise.settings import Hyperparameters, load_study
from phasewise.settings.target_modules import parse_target_modules, roles_of


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("core", "core"),
        ("q_proj+v_proj", "query+value"),
        ("down+ query", "query+down"),
        ("lm_head+embed_tokens+q_proj", "embedding+query+lm_head"),
        ("value+value", "value"),
    ],
)
def test_roles_have_one_spelling(written: str, meant: str) -> None:
    assert parse_target_modules(written) == meant
    chosen = Hyperparameters(learning_rate=1e-3, batch_size=4, epochs=1, target_modules=written)
    assert chosen.target_modules == meant
    assert Hyperparameters.model_validate(chosen.model_dump()) == chosen


@pytest.mark.parametrize("written", ["", "q_prjo+v_proj", "core+query"])
def test_unknown_modules_are_refused(written: str) -> None:
    with pytest.raises(ValueError, match="neither a group of modules nor a role"):
        parse_target_modules(written)


def test_a_group_is_its_roles() -> None:
    assert roles_of("minimal") == ("query", "value", "down")
    assert roles_of("query+lm_head") == ("query", "lm_head")
    assert len(roles_of("all")) == 7


def test_device_batch_and_warm_up_steps_overrule() -> None:
    chosen = Hyperparameters(
        learning_rate=1e-3,
        batch_size=16,
        epochs=1,
        device_batch_size=2,
        gradient_accumulation_steps=3,
        warmup_ratio=0.5,
        warmup_steps=7,
    )
    assert (chosen.batch_size, chosen.rows_at_once(), chosen.rows_at_once(1)) == (6, 2, 1)
    assert (chosen.warmup, chosen.count_warmup_steps(100)) == (7, 7)
    plain = Hyperparameters(learning_rate=1e-3, batch_size=16, epochs=1, warmup_ratio=0.05)
    assert (plain.warmup, plain.count_warmup_steps(30), plain.rows_at_once()) == (0.05, 2, 16)


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ("batch_size: [4, 8]\n  per_device_train_batch_size: [1, 2]", "overrules batch_size"),
        ("warmup_ratio: [0.0, 0.1]\n  warmup_steps: [0, 5]", "overrules warmup_ratio"),
        ("gradient_accumulation_steps: [1, 2]", "multiplies device_batch_size"),
    ],
)
def test_a_space_that_searches_what_is_overruled_is_refused(
    lines: str, problem: str, tmp_path: Path
) -> None:
    space = re.sub(r"\[(.*)\]", r"{type: categorical, values: [\1]}", "training:\n  " + lines)
    (tmp_path / "space.yaml").write_text(space + "\n")
    study = {
        "name": "s",
        "model": {"source": "package:none"},
        "tasks": {"rte": {}},
        "methods": {"lora": {}},
        "search": {"space": "space.yaml"},
    }
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    with pytest.raises(ConfigError, match=problem):
        load_study(tmp_path / "study.yaml")
