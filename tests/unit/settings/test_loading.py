from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from phasewise.errors import ConfigError
from phasewise.settings import Sampling, Study, load_study, read_yaml, registry_names
from phasewise.settings.base import read_scalar

Writer = Callable[..., Study]
SAMPLINGS = get_args(Sampling)


def test_valid_study_resolves_its_registered_files(write_study: Writer) -> None:
    study = write_study()
    assert study.units_of("all") == [
        ("rotten_tomatoes", "full_finetune"),
        ("rotten_tomatoes", "lora"),
    ]
    task = study.tasks["rotten_tomatoes"]
    assert (task.train_rows, task.splits.report_rows, task.metric) == (32, 40, "accuracy")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"serach": {}}, "unknown key 'serach'; did you mean 'search'?"),
        ({"search": {"trails": 3}}, "unknown key 'search.trails'; did you mean 'trials'?"),
        ({"search": {"trials": "ten"}}, "search.trials: input should be a valid integer"),
        ({"search": {"trials": 0}}, "greater than or equal to 1, got 0"),
        (
            {"search": {"sampler": "tpee"}},
            "search.sampler: no sampler has that name; did you mean 'tpe'",
        ),
        ({"search": {"space": "documentd"}}, "did you mean 'documented'?"),
        ({"tasks": {"rotten_tomatos": {}}}, "did you mean 'rotten_tomatoes'?"),
        ({"methods": {"lorra": {}}}, "did you mean 'lora'?"),
        ({"methods": {"lora": {"use_dorra": True}}}, "did you mean 'use_dora'?"),
        ({"tasks": {"sst2": {"metric": "exact"}}}, "metric 'exact' is not one of classification"),
        ({"search": {"fixed": {"learning_rate": -1}}}, "learning_rate: input should be greater"),
        ({"search": {"fixed": {"lr": 0.1}}}, "unknown key 'search.fixed.lr'"),
        ({"shards": {"a": ["sst2"]}}, "shards.a names task 'sst2', which the study lacks"),
        ({"shards": {"all": []}}, "the name 'all' is built in"),
        ({"shards": {"a": []}}, "shards leave out rotten_tomatoes"),
        (
            {"shards": {"a": ["rotten_tomatoes"], "b": ["rotten_tomatoes"]}},
            "task 'rotten_tomatoes' is on shards 'a' and 'b'",
        ),
        ({"resources_by": {"lorra": {"gpu": 1}}}, "did you mean 'lora'?"),
        ({"methods": {}}, "methods: dictionary should have at least 1 item"),
        ({"name": "../up"}, "name: string should match pattern"),
    ],
)
def test_bad_study_is_refused_by_name(
    write_study: Writer, change: dict[str, Any], expected: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        write_study(**change)
    message = str(caught.value)
    assert expected in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("length", "refused"),
    [
        ({"type": "categorical", "values": [384, 128]}, 128),
        ({"type": "int", "min": 64, "max": 384}, 64),
        ({"type": "fixed", "value": 100}, 100),
        ({"type": "int", "min": 129, "max": 384}, None),
    ],
)
def test_a_searched_length_leaves_windows_room_beside_the_stride(
    write_study: Writer, tmp_path: Path, length: dict[str, Any], refused: int | None
) -> None:
    space = {"source": "test", "spaces": {"lora": {"max_length": length}}}
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(space))
    content = {"tasks": {"squad_v2": {}, "sst2": {}}, "methods": {"lora": {}}}
    content["search"] = {"space": "space.yaml"}
    if refused is None:
        write_study(**content)
        return
    with pytest.raises(ConfigError) as caught:
        write_study(**content)
    expected = f"max_length {refused}: expected more than doc_stride of task 'squad_v2', 128"
    assert f"search space of 'lora': {expected}" in str(caught.value)


def test_balanced_sampling_is_for_classes(write_study: Writer, tmp_path: Path) -> None:
    space = {"data": {"sampling_strategy": {"type": "categorical", "values": list(SAMPLINGS)}}}
    (tmp_path / "space.yaml").write_text(yaml.safe_dump({"source": "test", **space}))
    search = {"space": "space.yaml"}
    study = write_study(tasks={"sst2": {}}, methods={"lora": {}}, search=search)
    assert study.parameters_of("lora")["sampling"].values == SAMPLINGS  # type: ignore[union-attr]
    with pytest.raises(ConfigError, match="sampling balanced: task 'squad_v2' is extractive_qa"):
        write_study(tasks={"sst2": {}, "squad_v2": {}}, methods={"lora": {}}, search=search)


def test_class_weights_are_for_classes(write_study: Writer, tmp_path: Path) -> None:
    space = {"data": {"class_weights": {"type": "categorical", "values": ["none", "balanced"]}}}
    (tmp_path / "space.yaml").write_text(yaml.safe_dump({"source": "test", **space}))
    search = {"space": "space.yaml"}
    study = write_study(tasks={"sst2": {}}, methods={"lora": {}}, search=search)
    assert study.parameters_of("lora")["class_weights"].values == ("none", "balanced")  # type: ignore[union-attr]
    with pytest.raises(ConfigError, match="class_weights balanced: task 'squad_v2' is"):
        write_study(tasks={"sst2": {}, "squad_v2": {}}, methods={"lora": {}}, search=search)
    methods = {"lora": {"defaults": {"class_weights": "sqrt"}}}
    with pytest.raises(ConfigError, match="class_weights sqrt: task 'squad_v2' is"):
        write_study(tasks={"squad_v2": {}}, methods=methods)


def test_missing_file_and_bad_yaml_name_the_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing\.yaml: no such settings file"):
        load_study(tmp_path / "nothing.yaml")
    bad = tmp_path / "bad.yaml"
    bad.write_bytes(b"name: \xff")
    with pytest.raises(ConfigError, match="expected UTF-8 text, byte 6 is not"):
        load_study(bad)
    bad.write_text("a: 1\na: 2\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="line 2: key 'a' twice"):
        load_study(bad)


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-6", 1e-6), ("1.0e-6", 1e-6), ("5E4", 5e4), ("-2e+3", -2e3), (".5", 0.5), ("3", 3)],
)
def test_numbers_are_read_as_people_write_them(tmp_path: Path, text: str, value: float) -> None:
    file = tmp_path / "numbers.yaml"
    file.write_text(f"x: {text}\n", encoding="utf-8")
    assert read_yaml(file)["x"] == value
    assert read_scalar(f" {text} ") == value, "quoted in a space, or given with --fixed"


@pytest.mark.parametrize("text", ["1e", "e5", "1.2.3", "12abc", "v1e5"])
def test_words_stay_words(tmp_path: Path, text: str) -> None:
    file = tmp_path / "words.yaml"
    file.write_text(f"x: {text}\n", encoding="utf-8")
    assert read_yaml(file)["x"] == text
    assert read_scalar(text) == text


def test_vm_has_no_default_and_must_be_known(write_study: Writer) -> None:
    study = write_study(shards={"vm1": ["rotten_tomatoes"]})
    assert study.tasks_of("vm1") == ["rotten_tomatoes"]
    with pytest.raises(ConfigError, match="which machine is this"):
        study.tasks_of(None)
    with pytest.raises(ConfigError, match="did you mean 'vm1'"):
        study.tasks_of("vm11")


def test_extends_states_only_what_differs(tmp_path: Path, write_study: Writer) -> None:
    write_study()
    child = tmp_path / "child.yaml"
    child.write_text("extends: study.yaml\nname: child\nsearch: {trials: 9}\n", encoding="utf-8")
    settings = load_study(child).settings
    assert (settings.name, settings.search.trials, settings.search.space) == ("child", 9, "demo")
    child.write_text("extends: child.yaml\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="extends itself"):
        load_study(child)


def test_data_folder_comes_from_the_environment(
    write_study: Writer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PHASEWISE_DATA", str(tmp_path))
    assert write_study().settings.data_dir == tmp_path


def test_a_task_can_be_written_in_the_study(write_study: Writer, tmp_path: Path) -> None:
    task = {
        "kind": "classification",
        "source": {"type": "files", "files": {"train": "a.csv", "validation": "b.csv"}},
        "text": ["question"],
        "label": "target",
        "labels": ["x", "y", "z"],
        "metric": "macro_f1",
    }
    source = write_study(tasks={"own": task}).tasks["own"].source
    assert source.type == "files"
    assert source.files["train"] == tmp_path / "a.csv"


def test_every_shipped_study_loads() -> None:
    root = Path(__file__).parents[3] / "shared"
    names = registry_names("studies")
    assert {"demo", "test", "reduced"} <= set(names)
    for file in [root / "config.yaml", *(root / "studies" / f"{name}.yaml" for name in names)]:
        assert load_study(file).units_of("all")


def test_documented_shards_split_the_default_study() -> None:
    study = load_study(Path(__file__).parents[3] / "shared" / "config.yaml")
    assert study.tasks_of("vm1") == ["squad_v2"]
    assert study.tasks_of("vm2") == ["mrpc", "sst2", "rte"]
