from pathlib import Path
from typing import Any

import pytest
import yaml

from phasewise.errors import ConfigError
from phasewise.settings import Study, load_study

DEFAULT = Path(__file__).parents[3] / "shared" / "config.yaml"
OWN_TASK = {
    "kind": "classification",
    "source": {"type": "files", "files": {"train": "train.csv", "validation": "dev.csv"}},
    "text": ["question"],
    "label": "target",
    "labels": ["billing", "delivery"],
    "metric": "macro_f1",
}


def extend(folder: Path, **own: Any) -> Study:
    """Loads a study that extends the default one."""
    file = folder / "mine.yaml"
    file.write_text(yaml.safe_dump({"name": "mine", "extends": str(DEFAULT), **own}))
    return load_study(file)


def test_inherited_entries_of_absent_tasks_and_methods_are_dropped(tmp_path: Path) -> None:
    study = extend(tmp_path, tasks={"own": OWN_TASK}, methods={"lora": {}})
    assert study.units_of("all") == [("own", "lora")]
    assert study.settings.shards == {}
    assert study.settings.resources_by == {}
    assert study.resources_of("own", "lora").runtime == 240


def test_a_narrower_study_keeps_what_still_fits(tmp_path: Path) -> None:
    study = extend(tmp_path, tasks={"sst2": {}, "squad_v2": {}})
    assert study.settings.shards == {"vm1": ("squad_v2",), "vm2": ("sst2",)}
    assert set(study.settings.resources_by) == {"squad_v2", "full_finetune"}


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"shards": {"vm1": ["rte", "sst2"]}}, "shards.vm1 names task 'sst2'"),
        ({"resources_by": {"sst2": {"gpu": 1}}}, "resources_by.sst2 is neither a task nor"),
    ],
)
def test_entries_that_the_file_writes_itself_are_checked(
    tmp_path: Path, own: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        extend(tmp_path, tasks={"rte": {}}, **own)


def test_a_task_that_no_inherited_shard_holds_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"shards leave out own; .* or write `shards: null`"):
        extend(tmp_path, tasks={"rte": {}, "own": OWN_TASK})
    study = extend(tmp_path, tasks={"own": OWN_TASK, "rte": {}}, shards=None)
    assert study.tasks_of("all") == ["own", "rte"]


def test_null_removes_an_inherited_key(tmp_path: Path) -> None:
    settings = extend(
        tmp_path,
        shards=None,
        search={"trials": None, "space": "documented"},
        model={"revision": None},
        resources_by={"squad_v2": None},
    ).settings
    assert settings.shards == {}
    assert settings.model.revision is None
    assert (settings.search.trials, settings.search.space) == (10, "documented")
    assert set(settings.resources_by) == {"full_finetune"}
    with pytest.raises(ConfigError, match="unknown key 'serach'"):
        extend(tmp_path, serach=None)


def test_a_study_with_a_name_of_its_own_writes_to_a_folder_of_its_own(tmp_path: Path) -> None:
    assert extend(tmp_path).settings.analysis_path == Path("analysis/mine")


def test_inherited_paths_stay_relative_to_the_file_that_names_them(tmp_path: Path) -> None:
    space = {"source": "test", "spaces": {"lora": {"epochs": {"type": "fixed", "value": 1}}}}
    content = {
        "name": "base",
        "model": {"source": "./encoder"},
        "tasks": {"own": OWN_TASK},
        "methods": {"lora": {}},
        "search": {"space": "space.yaml"},
    }
    (tmp_path / "base" / "narrow").mkdir(parents=True)
    (tmp_path / "base" / "space.yaml").write_text(yaml.safe_dump(space))
    (tmp_path / "base" / "study.yaml").write_text(yaml.safe_dump(content))
    child = tmp_path / "base" / "narrow" / "study.yaml"
    child.write_text("name: child\nextends: ../study.yaml\n")
    study = load_study(child)
    assert study.settings.search.space == "../space.yaml"
    assert study.settings.model.source == str(tmp_path / "base" / "encoder")
    files = study.tasks["own"].source.files  # type: ignore[union-attr]
    assert files["train"] == tmp_path / "base" / "train.csv"


def test_a_model_folder_is_relative_to_the_study_and_named_from_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "studies" / "encoder").mkdir(parents=True)
    file = tmp_path / "studies" / "study.yaml"
    content = {"name": "x", "tasks": {"rte": {}}, "methods": {"lora": {}}}
    file.write_text(yaml.safe_dump({**content, "model": {"source": "encoder"}}))
    assert load_study(file).settings.model.source == str(tmp_path / "studies" / "encoder")
    monkeypatch.chdir(tmp_path)
    assert load_study(file).settings.model.source == "studies/encoder"
    file.write_text(yaml.safe_dump({**content, "model": {"source": "google-bert/bert"}}))
    assert load_study(file).settings.model.source == "google-bert/bert"


def test_a_missing_base_and_an_empty_file_are_said_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text("name: a\nextends: nothing.yaml\n")
    with pytest.raises(ConfigError, match=r"study.yaml: extends: no file nothing.yaml"):
        load_study(file)
    file.write_text("# nothing yet\n")
    with pytest.raises(ConfigError, match="the file is empty; expected name, model, tasks"):
        load_study(file)
