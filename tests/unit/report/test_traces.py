"""Every number of the page leads to its runs, and every run to its record."""

import csv
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest

from phasewise.records import read_record
from phasewise.report import build_report
from phasewise.settings import Study
from phasewise.statistics import Bounds, mean_interval
from phasewise.steps import REPORT_TABLES
from synthetic import UnitWriter, write_baselines, write_ledger

TASK, OTHER = "rotten_tomatoes", "imdb"
METHODS = ("lora", "full_finetune", "dora")
Writer = Callable[..., Study]


class _Page(HTMLParser):
    """Collects anchors, links, and the cells of numbers with the link around each."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.numbers: list[tuple[str, str]] = []
        self._link, self._number = "", False
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if found.get("id"):
            self.ids.append(str(found["id"]))
        if tag == "td":
            self._number = found.get("class") == "number"
        if tag == "a":
            self._link = str(found["href"])
            self.links.append(self._link)

    def handle_endtag(self, tag: str) -> None:
        if tag == "a":
            self._link = ""

    def handle_data(self, data: str) -> None:
        if self._number and data.strip() not in {"", "–"}:
            self.numbers.append((data.strip(), self._link))
            self._number = False


@pytest.fixture
def study(write_study: Writer, study_content: dict[str, Any]) -> Study:
    content = study_content["tasks"][TASK]
    study = write_study(
        tasks={TASK: content, OTHER: content},
        methods={name: {} for name in METHODS},
        validation={"seeds": 6},
        analysis_dir="analysis/with space",
    )
    rng = np.random.default_rng(0)
    for task, method in study.units_of("all"):
        unit = UnitWriter(study, task, method)
        unit.phase0([0.7, 0.71], [0.7, 0.72])
        unit.phase1([0.7, 0.75, 0.72], confirm=[0.73, 0.74])
        unit.phase2_examples((rng.random((6, 50)) < 0.7).astype(float))
    for task in study.tasks:
        write_baselines(study, task)
        write_ledger(study, task, 3)
    return study


def test_every_link_leads_somewhere(study: Study) -> None:
    path = build_report(study, study.units_of("all"))
    page = _Page(path)
    assert len(page.ids) == len(set(page.ids))
    inner = {link.removeprefix("#") for link in page.links if link.startswith("#")}
    assert inner <= set(page.ids)
    files = {link for link in page.links if not link.startswith("#")}
    for link in files:
        assert (path.parent / unquote(link)).is_file(), link
    records = list(study.settings.experiments_path.rglob("record.json"))
    linked = {(path.parent / unquote(link)).resolve() for link in files}
    assert {record.resolve() for record in records} <= linked
    assert len(records) == 6 * (2 + 3 + 2 + 6)


def test_every_number_of_the_summary_tables_has_a_link(study: Study) -> None:
    page = _Page(build_report(study, study.units_of("all")))
    rows = [number for number in page.numbers if number[1]]
    own = {row for row in page.numbers if not row[1]}
    # Only the numbers of the run tables stand without one: their row is the record's own.
    records = {f"{score:.6g}" for score in (0.7, 0.71, 0.72, 0.73, 0.74, 0.75)}
    seeds = {
        f"{record.report_score:.6g}"
        for path in study.settings.experiments_path.rglob("seed-*")
        if (record := read_record(path)) is not None
    }
    assert {text for text, _ in own} <= records | seeds | {"12.5"}
    assert len(rows) > 100


def test_the_tables_that_the_workflow_names_are_written(study: Study) -> None:
    folder = build_report(study, study.units_of("all")).parent / "tables"
    assert {path.name for path in folder.iterdir()} == {*REPORT_TABLES, "verdicts.tex"}


def test_runs_csv_has_each_run_with_its_record(study: Study) -> None:
    folder = build_report(study, study.units_of("all")).parent
    with (folder / "tables" / "runs.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 6 * 13
    for row in rows:
        record = read_record((folder / unquote(row["record"])).parent)
        assert record is not None
        assert record.hash == row["settings_hash"]
        assert record.config.name == row["run"]
        assert float(row["learning_rate"]) == record.config.hyperparameters.learning_rate
        assert bool(row["lora_rank"]) == (row["method"] != "full_finetune")


def test_how_a_verdict_was_worked_out(study: Study) -> None:
    text = (build_report(study, study.units_of("all")).parent / "RESULTS.md").read_text("utf-8")
    assert "over 6 pairs of runs and 50 examples; standard error " in text
    assert "over 12 pairs of runs and 100 examples" in text
    assert "degrees of freedom gives [" in text
    assert "Holm over 9 comparisons makes it " in text


def test_interval_of_a_unit_allows_for_examples_too(study: Study) -> None:
    folder = build_report(study, study.units_of("all")).parent
    with (folder / "tables" / "units.csv").open() as stream:
        row = next(csv.DictReader(stream))
    assert row["interval_of"] == "seeds and examples"
    paths = UnitWriter(study, row["task"], row["method"]).paths
    scores = [read_record(p.parent) for p in sorted(paths.root.glob("phase2/*/record.json"))]
    found = [record.report_score or 0.0 for record in scores if record is not None]
    seeds = mean_interval(found, Bounds(0, 1))
    assert seeds is not None
    # 50 examples of which 7 in 10 are right weigh at least as much as six seeds.
    assert float(row["validation_interval_high"]) >= seeds.high - 1e-9
