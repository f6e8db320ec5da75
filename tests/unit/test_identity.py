"""What identifies a run: every field of every section, unless its declaration says why not."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import pytest
from pydantic import BaseModel, Field, create_model

from phasewise.errors import ConfigError
from phasewise.model_files import fingerprint_model
from phasewise.runs import RunConfig, build_seeds, build_unit, hash_content
from phasewise.settings import (
    MethodSettings,
    ModelSettings,
    Study,
    StudySettings,
    describe_meaning,
    is_marked,
)
from tiny_models import write_tiny_bert

TASK = "rotten_tomatoes"


def _sections(kind: Any) -> Iterator[type[BaseModel]]:
    """Yields every section that a type can hold."""
    if get_origin(kind) in (Union, UnionType, Annotated, tuple, dict, list):
        for part in get_args(kind):
            yield from _sections(part)
    elif isinstance(kind, type) and issubclass(kind, BaseModel):
        yield kind
        for field in kind.model_fields.values():
            if not is_marked(field):
                yield from _sections(field.annotation)


@pytest.fixture
def config(write_study: Callable[..., Study]) -> RunConfig:
    study = write_study()
    return RunConfig(
        unit_config=build_unit(study, TASK, "lora"),
        role="trial",
        index=0,
        hyperparameters=study.default_hyperparameters(TASK, "lora"),
        seeds=build_seeds(0, "phase1", TASK, 0),
    )


def _all_values(value: Any, path: str = "") -> Iterator[tuple[str, BaseModel, str]]:
    """Yields (path, section, field) of everything that a value holds."""
    if isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield f"{path}.{name}", value, name
            yield from _all_values(getattr(value, name), f"{path}.{name}")


def test_every_field_is_hashed_or_marked_with_a_reason(config: RunConfig) -> None:
    checked = 0
    for path, section, name in _all_values(config):
        field = type(section).model_fields[name]
        described = describe_meaning(section)
        changed = describe_meaning(section.model_copy(update={name: "something else"}))
        if is_marked(field):
            assert field.json_schema_extra["no_effect"], path  # type: ignore[index,call-overload]
            assert changed == described, path
        else:
            assert changed != described, path
        checked += 1
    assert checked > 60


@pytest.mark.parametrize("section", dict.fromkeys(_sections(StudySettings)))
def test_no_section_of_a_study_hides_its_fields(section: type[BaseModel]) -> None:
    """What is dumped without a declaration (extra, excluded or private) would be no part of it."""
    assert section.model_config.get("extra") == "forbid"
    assert not [name for name, field in section.model_fields.items() if field.exclude]


def test_a_new_flag_of_a_method_is_part_of_the_hash_by_itself(config: RunConfig) -> None:
    later = create_model("Later", __base__=MethodSettings, use_new=(bool, Field(False)))
    method = config.unit_config.method

    def hash_with(flag: bool) -> str:
        changed = later(**method.model_dump(), use_new=flag)
        unit = config.unit_config.model_copy(update={"method": changed})
        return config.model_copy(update={"unit_config": unit}).hash

    assert hash_with(False) != hash_with(True)


def test_labels_and_places_are_no_part_of_the_hash(config: RunConfig) -> None:
    for change in ({"index": 7}, {"role": "seed"}, {"origin": "sobol"}, {"keeps_model": True}):
        assert config.model_copy(update=change).hash == config.hash
    assert config.model_copy(update={"opens_report_set": True}).hash != config.hash


def test_meaning_of_a_plain_value_is_itself() -> None:
    assert describe_meaning({"a": (1, [2.5, None])}) == {"a": [1, [2.5, None]]}
    assert len(hash_content({"a": 1})) == 16


def test_a_record_gives_its_hash_again(config: RunConfig) -> None:
    """A default written as 16 is read back as 16.0."""
    assert config.hyperparameters.loraplus_lr_ratio == 16
    assert RunConfig.model_validate_json(config.model_dump_json()).hash == config.hash


def _edit_json(path: Path, **changes: Any) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**content, **changes}), encoding="utf-8")


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bert(tmp_path_factory.mktemp("model") / "bert")


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json", "tokenizer.json"])
def test_a_model_is_its_files_whatever_its_path(bert: Path, tmp_path: Path, file: str) -> None:
    copy = shutil.copytree(bert, tmp_path / "copy")
    before = fingerprint_model(ModelSettings(source=str(bert)))
    assert fingerprint_model(ModelSettings(source=str(copy))) == before
    _edit_json(copy / file, added="other")
    assert fingerprint_model(ModelSettings(source=str(copy))) != before


def test_weights_changed_in_place_are_another_model(bert: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(bert, tmp_path / "copy")
    before = fingerprint_model(ModelSettings(source=str(copy)))
    weights = copy / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert fingerprint_model(ModelSettings(source=str(copy))) != before


def test_a_readme_is_no_part_of_a_model(bert: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(bert, tmp_path / "copy")
    (copy / "README.md").write_text("words")
    (copy / ".gitattributes").write_text("words")
    same = fingerprint_model(ModelSettings(source=str(bert)))
    assert fingerprint_model(ModelSettings(source=str(copy))) == same


COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_a_pinned_model_of_the_hub_is_its_commit() -> None:
    model = ModelSettings(source="org/name", revision=COMMIT)
    assert fingerprint_model(model) == f"org/name@{COMMIT}"


def test_an_unpinned_model_of_the_hub_is_the_commit_in_the_cache(
    bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    root = tmp_path / "models--org--name"
    shutil.copytree(bert, root / "snapshots" / COMMIT)
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text(COMMIT)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    assert fingerprint_model(ModelSettings(source="org/name")) == f"org/name@{COMMIT}"


def test_an_unknown_commit_is_refused_with_a_way_out() -> None:
    with pytest.raises(ConfigError, match="HF_HUB_OFFLINE is set; work offline"):
        fingerprint_model(ModelSettings(source="org/never-downloaded"))
