"""A made-up study written through the records, and what the report says about it."""

import csv
import re
import time
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

from phasewise.errors import ConfigError
from phasewise.report import build_report
from phasewise.report.figure_list import STUDY_FIGURES, TASK_FIGURES, UNIT_FIGURES
from phasewise.settings import Study
from synthetic import UnitWriter, write_baselines, write_ledger

TASK = "rotten_tomatoes"
Writer = Callable[..., Study]


@pytest.fixture
def study(write_study: Writer) -> Study:
    return write_study(
        methods={"full_finetune": {}, "lora": {}, "dora": {}},
        baselines={"seeds": 3},
        validation={"seeds": 5},
        description="Made up <b>& more</b>.",
    )


def _fill(study: Study, method: str, mean: float, *, seeds: list[float]) -> UnitWriter:
    unit = UnitWriter(study, TASK, method)
    unit.phase0([mean - 0.06, mean - 0.05, mean - 0.04], [mean - 0.05, mean - 0.04, mean - 0.03])
    unit.phase1([mean - 0.04, mean - 0.05, mean + 0.02, mean], confirm=[mean, mean - 0.01])
    unit.phase2(seeds)
    return unit


def _build(study: Study, units: list[tuple[str, str]] | None = None) -> tuple[str, str]:
    path = build_report(study, units or study.units_of("all"))
    assert path == study.settings.analysis_path / "report.html"
    return path.read_text("utf-8"), (path.parent / "RESULTS.md").read_text("utf-8")


class _Loads(HTMLParser):
    """Collects what a page would load and checks that its elements are closed."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loads += [f"{tag} {k}={v}" for k, v in attrs if k in {"src", "srcset", "data-src"}]
        links = [str(value) for name, value in attrs if name == "href"]
        self.loads += [f"{tag} {link}" for link in links if tag != "a" or "//" in link]
        if tag not in {"meta", "br", "link"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def _text(html: str) -> str:
    """The visible text, without scripts and styles."""
    body = re.sub(r"<(script|style)\b.*?</\1>", " ", html, flags=re.S)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", body))


def test_complete_study_says_the_same_in_html_and_markdown(study: Study) -> None:
    write_baselines(study, TASK)
    write_ledger(study, TASK, 24)
    _fill(study, "lora", 0.76, seeds=[0.76, 0.77, 0.75, 0.78, 0.765])
    _fill(study, "full_finetune", 0.70, seeds=[0.70, 0.72, 0.69, 0.72, 0.715])
    _fill(study, "dora", 0.76, seeds=[0.77, 0.75, 0.76, 0.775, 0.755])
    html, markdown = _build(study)
    for text in (_text(html), markdown):
        # lora 0.765 and dora 0.762: differences -.01 .02 -.01 .005 .01, t-interval by hand
        assert f"lora and dora cannot be told apart on {TASK}: difference 0.003 accuracy [" in text
        assert (
            "0.003 accuracy [−0.013, 0.019]; the difference would have to be ≥ 0.027; about "
            in text
        )
        assert (
            "lora beats full_finetune on rotten_tomatoes by 0.056 accuracy [0.049, 0.063]" in text
        )
        assert "the sign-flip test cannot reach the level (no p below 0.062)" in text
        assert "significant" not in text
        assert "frozen-encoder probe (0.685), lora gains +0.080 [" in text
        assert "24 x phase2" in text
        assert "best-worst gap" in text
        assert "learning_rate = 0.009 lies at the max edge of its range; search 0.0001 to" in text
    assert "| lora | 0.765 [0.751, 0.779]* (5) | 0.011 | 0.720 ± 0.010 (3) |" in markdown
    assert "0.755 ± 0.005 (2) | 0.780 | +0.025 | 0.710 ± 0.010 (3)" in markdown
    assert "| TF-IDF + logistic regression | 0.615 |" in markdown
    assert "The zero-shot baseline has no score: an encoder." in markdown
    assert "| zero-shot | – | – |" in markdown


def test_every_score_is_on_the_metrics_own_scale(study: Study) -> None:
    """Nothing that a reader sees is times 100: tables, verdicts, what is detectable, LaTeX."""
    write_baselines(study, TASK)
    _fill(study, "lora", 0.76, seeds=[0.76, 0.77, 0.75, 0.78, 0.765])
    _fill(study, "full_finetune", 0.70, seeds=[0.70, 0.72, 0.69, 0.72, 0.715])
    html, markdown = _build(study)
    folder = study.settings.analysis_path
    tables = "".join(path.read_text("utf-8") for path in sorted((folder / "tables").glob("*.tex")))
    said = (folder / "verdict.txt").read_text("utf-8")
    shown = {"page": _text(html), "results": markdown, "latex": tables, "terminal": said}
    for place, text in shown.items():
        assert "0.765" in text, place  # lora's mean, by hand
        assert "76.5" not in text, place
        assert not re.search(r"\d points\b", text), place
    for place in ("page", "results", "latex"):
        assert "0.056 [" in shown[place] or "0.056 accuracy [" in shown[place], place


def test_page_loads_nothing_and_is_well_formed(study: Study) -> None:
    write_baselines(study, TASK)
    for method, mean in (("full_finetune", 0.7), ("lora", 0.76), ("dora", 0.75)):
        _fill(study, method, mean, seeds=[mean + 0.01 * i for i in range(5)])
    html, _ = _build(study)
    parser = _Loads()
    parser.feed(html)
    assert parser.loads == []
    assert parser.open == []
    assert "@import" not in html
    assert "url(" not in html
    assert "showSendToCloud: false" in html
    assert html.count('id="plotly"') == 1
    assert len(html) < 3e6
    # four trials are too few for importances
    expected = len(STUDY_FIGURES) + len(TASK_FIGURES) + 3 * (len(UNIT_FIGURES) - 1)
    assert html.count('class="plot"') == expected


def test_texts_of_settings_and_records_are_escaped(study: Study) -> None:
    unit = UnitWriter(study, TASK, "lora")
    unit.run("trial-000", None, status="failed", message="</script><script>alert(1)</script> a|b")
    html, markdown = _build(study)
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert(1)" in html
    assert "Made up &lt;b&gt;&amp; more" in html
    assert "<script>" not in markdown
    assert "<b>" not in markdown


def test_empty_study_is_said_in_words(study: Study) -> None:
    html, markdown = _build(study)
    for text in (_text(html), markdown):
        assert f"{TASK}: no finding yet, since no method has a Phase 2 score." in text
        assert "lora is not compared: Phase 0 has not been run" in text
        assert "No run has ended yet." in text
    assert "0 of 5" in markdown
    assert len(html) < 100_000  # no figure, no plotly.js


def test_each_missing_part_is_named(study: Study) -> None:
    UnitWriter(study, TASK, "full_finetune").phase1([0.7, 0.6], final=False)
    lora = _fill(study, "lora", 0.76, seeds=[0.76])
    lora.phase2([0.76], failed=("seed-01: worker died", "seed-02: worker died"))
    dora = UnitWriter(study, TASK, "dora")
    for number in range(6):
        dora.run(f"trial-{number:03d}", None, status="diverged", message="loss is not finite")
    html, markdown = _build(study)
    for text in (_text(html), markdown):
        assert "lora reaches 0.760 accuracy over one seed; there is no other method" in text
        assert "Phase 1 has not ended: 2 of 4 trials finished" in text
        assert "Phase 1: none of 6 runs has a score (loss is not finite)" in text
        assert "6 runs (trial-000 to trial-005) diverged: loss is not finite" in text
        assert "Phase 2 has 1 of 5 seeds, 2 failed" in text
        assert "seed-01: worker died" in text
        assert "Running optimum: trial 0" in text


def test_a_shared_single_seed_is_no_comparison(study: Study) -> None:
    _fill(study, "lora", 0.76, seeds=[0.76])
    _fill(study, "dora", 0.70, seeds=[0.70])
    _, markdown = _build(study)
    assert (
        "lora and dora share a single seed on rotten_tomatoes (difference 0.060 accuracy)"
        in markdown
    )
    assert "beats dora" not in markdown


def test_six_agreeing_pairs_lead_with_a_p_value(write_study: Writer) -> None:
    study = write_study(methods={"lora": {}, "dora": {}}, validation={"seeds": 6})
    _fill(study, "lora", 0.76, seeds=[0.760, 0.770, 0.750, 0.780, 0.765, 0.770])
    _fill(study, "dora", 0.70, seeds=[0.70, 0.72, 0.69, 0.72, 0.715, 0.71])
    _, markdown = _build(study)
    assert "lora beats dora on rotten_tomatoes by" in markdown
    assert "| 0.031 |" in markdown
    assert "cannot reach the level" not in markdown


def test_a_lower_loss_leads(write_study: Writer, study_content: dict[str, Any]) -> None:
    task = {**study_content["tasks"][TASK], "metric": "eval_loss"}
    study = write_study(tasks={TASK: task}, methods={"lora": {}, "dora": {}})
    _fill(study, "lora", 0.50, seeds=[0.50, 0.52, 0.51])
    _fill(study, "dora", 0.60, seeds=[0.60, 0.63, 0.61])
    _, markdown = _build(study)
    assert "lora beats dora on rotten_tomatoes by 0.103 eval_loss [" in markdown


def test_records_of_other_settings_and_broken_files_are_left_out_by_name(
    study: Study, write_study: Writer, study_content: dict[str, Any]
) -> None:
    unit = _fill(study, "lora", 0.76, seeds=[0.76, 0.77])
    unit.paths.run("phase1", "trial-001").joinpath("record.json").write_text("{", "utf-8")
    unit.paths.summary("phase0").write_text('{"phase": "phase9"}', "utf-8")
    unit.paths.ledger.write_text("not json\n", "utf-8")
    task = {**study_content["tasks"][TASK], "max_length": 99}
    other = write_study(tasks={TASK: task}, methods={"lora": {}})
    UnitWriter(other, TASK, "lora").run("trial-003", 0.999)
    _, markdown = _build(study, [(TASK, "lora")])
    assert "1 records belong to other settings and were left out: trial-003" in markdown
    assert "trial-001" in markdown
    assert "not a record this version can read" in markdown
    assert "not a PhaseSummary" in markdown
    assert "not a ledger entry" in markdown
    assert "| lora | Phase 1 | 4 |" in markdown.replace(f"| {TASK} ", "")  # 2 trials, 2 confirm


def test_csv_has_the_numbers_in_full(study: Study) -> None:
    _fill(study, "lora", 0.76, seeds=[0.761, 0.772, 0.75])
    _build(study, [(TASK, "lora"), (TASK, "dora")])
    with (study.settings.analysis_path / "tables" / "units.csv").open() as stream:
        lora, dora = csv.DictReader(stream)
    assert float(lora["validation_mean"]) == pytest.approx(np.mean([0.761, 0.772, 0.75]))
    assert lora["validation_runs"] == "3"
    assert float(lora["optimism"]) == pytest.approx(0.78 - 0.755)
    assert dora["validation_mean"] == ""
    assert dora["state"].startswith("Phase 0 has not been run")


def test_figures_are_written_as_asked(study: Study) -> None:
    _fill(study, "lora", 0.76, seeds=[0.761, 0.772, 0.75])
    folder = study.settings.analysis_path / "figures"
    build_report(study, [(TASK, "lora")], figures="none")
    assert not folder.exists()
    build_report(study, [(TASK, "lora")], figures="main")
    names = {f"{name}-{TASK}" for name in ("budget-trials", "cost", "seeds")}
    names.add("answer-small")
    written = {path.name for path in folder.iterdir()}
    assert written == {f"{name}.{ending}" for name in names for ending in ("png", "svg")}
    build_report(study, [(TASK, "lora")], figures="all")
    assert len([path for path in folder.iterdir() if path.suffix == ".svg"]) == (
        len(STUDY_FIGURES) + len(TASK_FIGURES) + len(UNIT_FIGURES) - 1
    )


def test_noise_that_cannot_be_estimated_is_not_shown_as_zero(study: Study) -> None:
    unit = UnitWriter(study, TASK, "lora")
    unit.phase0([0.7, 0.7, 0.7], [0.71, 0.71, 0.71])
    _, markdown = _build(study, [(TASK, "lora")])
    row = next(line for line in markdown.splitlines() if line.startswith(f"| {TASK} | accuracy"))
    assert row.count("not estimable: all seeds scored the same") == 2
    assert "0.0000 (3)" in row  # the SD itself was measured


def test_a_unit_that_is_not_of_the_study_is_refused(study: Study) -> None:
    with pytest.raises(ConfigError, match="rotten_tomatoes/nonsense"):
        build_report(study, [(TASK, "nonsense")])


def test_results_do_not_change_when_nothing_has(study: Study) -> None:
    _fill(study, "lora", 0.76, seeds=[0.76, 0.77])
    assert _build(study)[1] == _build(study)[1]


def test_forty_units_stay_small_and_take_time_in_proportion(
    write_study: Writer, study_content: dict[str, Any]
) -> None:
    content = study_content["tasks"][TASK]
    source = {"kind": "classification", "text": ["text"], "labels": ["a", "b"]}
    source |= {"metric": "accuracy", "source": {"type": "files", "files": {"train": "x.jsonl"}}}
    tasks = {f"task{i}": {**source, **content} for i in range(20)}
    study = write_study(tasks=tasks, methods={"lora": {}, "dora": {}}, validation={"seeds": 3})
    for task, method in study.units_of("all"):
        unit = UnitWriter(study, task, method)
        unit.phase1([0.6, 0.7, 0.65, 0.66, 0.71])
        unit.phase2([0.7, 0.71, 0.72])

    def seconds(units: list[tuple[str, str]]) -> float:
        start = time.process_time()  # other processes on the machine are not the report's
        build_report(study, units)
        return time.process_time() - start

    units = study.units_of("all")
    seconds(units[:2])  # imports
    assert seconds(units) < 6 * seconds(units[:10])  # four times the units
    assert len(_build(study)[0]) < 5e6
