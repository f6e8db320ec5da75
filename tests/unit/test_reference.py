"""Every key of a settings file is told, and the schemas accept what the program accepts."""

import runpy
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from pydantic import BaseModel
from typer.testing import CliRunner

from phasewise.cli.app import app
from phasewise.settings import REGISTRY, read_yaml
from phasewise.settings.loading import study_model
from phasewise.settings.schemas import SCHEMAS, file_schema

ROOT = Path(__file__).parents[2]
FOLDERS = {"tasks": "task", "methods": "method", "spaces": "space", "studies": "study"}
FILES = [
    *((ROOT / "shared" / "config.yaml", "study"),),
    *((file, kind) for name, kind in FOLDERS.items() for file in (REGISTRY / name).glob("*.yaml")),
]


generate = runpy.run_path(str(ROOT / "docs" / "generate.py"))


def _keys(model: type[BaseModel], prefix: str = "") -> list[str]:
    own = [f"{prefix}{key}" for key in model.model_fields]
    parts = [_keys(part, f"{prefix}{key}.") for key, part in generate["sections_of"](model)]
    return [*own, *(key for keys in parts for key in keys)]


@pytest.mark.parametrize(
    "model",
    [model for _, models, _ in generate["PARTS"] for model in models],
    ids=lambda m: m.__name__,
)
def test_every_key_has_a_row_with_a_meaning(model: type[BaseModel]) -> None:
    rows = [line.split(" | ") for line in generate["settings_page"]().splitlines() if " | " in line]
    told = {cells[0].strip("| `"): cells[-1].strip("| ") for cells in rows}
    keys = _keys(model) if model.__name__ != "Suite" else list(model.model_fields)
    assert [key for key in keys if not told.get(key)] == []


@pytest.mark.parametrize(("file", "kind"), FILES, ids=lambda each: getattr(each, "stem", each))
def test_files_that_come_along_meet_their_schema(file: Path, kind: str) -> None:
    jsonschema.validate(read_yaml(file), file_schema(kind))


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("study", "serach: {trials: 3}"),
        ("study", "search: {trails: 3}"),
        ("study", "search: {sampler: tep}"),
        ("study", "search: {trials: 0}"),
        ("study", "search: {fixed: {lora_rnak: 3}}"),
        ("study", "tasks: {rte: {train_row: 5}}"),
        ("study", "methods: {lora: {use_dora: maybe}}"),
        ("task", "source: {type: files, flies: {train: a.csv}}"),
        ("method", "defaults: {learning_rate: fast}"),
        ("space", "spaces: {lora: {learning_rat: {type: uniform, min: 0, max: 1}}}"),
        ("space", "spaces: {lora: {learning_rate: {type: unifrom, min: 0, max: 1}}}"),
    ],
)
def test_a_schema_refuses_a_mistake(kind: str, text: str) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(text), file_schema(kind))


def test_a_change_of_a_study_meets_the_schema() -> None:
    text = """
    extends: ../config.yaml
    tasks:
      rte: {train_rows: 50}
      own: {kind: classification, source: {type: files, files: {train: a}}}
    methods: {small: {base: lora, defaults: {lora_rank: 2}}}
    search: {time_budget_hours: null, sampler: null}
    sampler_benchmark: {trials: 5}
    """
    jsonschema.validate(yaml.safe_load(text), file_schema("study"))


def test_the_command_writes_every_schema(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["schemas", str(tmp_path / "new")])
    assert result.exit_code == 0
    read: dict[str, Any] = {kind: read_yaml(tmp_path / "new" / f"{kind}.json") for kind in SCHEMAS}
    assert read == {kind: file_schema(kind) for kind in SCHEMAS}
    assert study_model().model_fields.keys() <= read["study"]["properties"].keys()
