"""The first screen: what to use in one line, what to read first, and terms in plain sentences."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from phasewise.cli.app import app
from phasewise.report import build_report
from phasewise.report.content import gather_content
from phasewise.report.terms import TERMS, Explainer
from phasewise.settings import Study
from synthetic import UnitWriter, write_baselines, write_ledger

TASK, OTHER = "rotten_tomatoes", "imdb"
Writer = Callable[..., Study]
LOST, GOOD, BETTER = [0.505] * 4, [0.75, 0.76, 0.75, 0.77], [0.85, 0.87, 0.86, 0.87]


@pytest.fixture
def pair(write_study: Writer) -> Study:
    return write_study(methods={"lora": {}, "full_finetune": {}})


def _fill(study: Study, task: str = TASK, **scores: list[float]) -> None:
    write_baselines(study, task)
    for method, values in scores.items():
        UnitWriter(study, task, method).phase2(values)


def _answer(study: Study) -> list[str]:
    page = build_report(study, study.units_of("all"))
    said = (page.parent / "verdict.txt").read_text("utf-8").splitlines()
    assert said[-1].startswith("report: ")
    text = (page.parent / "RESULTS.md").read_text("utf-8")
    assert f"## What should I use?\n\n**{said[-2]}**" in text
    return [line for line in said[:-1] if not line.startswith("read first: ")]


@pytest.mark.parametrize(
    ("lora", "full_finetune", "said"),
    [
        (GOOD, BETTER, "use full_finetune (accuracy 0.863 [0.847, 0.877]): it beats lora."),
        (LOST, BETTER, "use full_finetune (accuracy 0.863 [0.847, 0.877]): no other method has"),
        (LOST, LOST, "use none of these methods yet: none is shown to beat the majority class."),
        ([0.61, 0.62, 0.6, 0.61], LOST, "use frozen-encoder probe (0.685), which needs no fine"),
        (
            [0.61, 0.62, 0.6, 0.61],
            LOST,
            "--task rotten_tomatoes --baseline frozen_encoder_probe --all-data --output final/",
        ),
        ([0.86, 0.86, 0.85, 0.88], BETTER, "it cannot be told apart from "),
    ],
)
def test_one_task_is_answered_in_one_line(
    pair: Study, lora: list[float], full_finetune: list[float], said: str
) -> None:
    _fill(pair, lora=lora, full_finetune=full_finetune)
    (line,) = _answer(pair)
    assert line.startswith(f"{TASK}: use ")
    assert said in line


def test_several_tasks_have_one_line_more(
    write_study: Writer, study_content: dict[str, Any]
) -> None:
    content = study_content["tasks"][TASK]
    study = write_study(
        tasks={TASK: content, OTHER: content}, methods={"lora": {}, "full_finetune": {}}
    )
    for task in (TASK, OTHER):
        _fill(study, task, lora=GOOD, full_finetune=BETTER)
    assert _answer(study)[-1] == "Use full_finetune on each of the 2 tasks."
    _fill(study, OTHER, lora=LOST, full_finetune=LOST)
    assert _answer(study)[-1] == (
        f"It depends on the task: use full_finetune on {TASK}; no fine-tuning yet on {OTHER}."
    )
    _fill(study, TASK, lora=LOST, full_finetune=LOST)
    assert _answer(study)[-1].startswith("Use none of these methods yet")


def test_the_terminal_ends_with_the_answer_and_the_page(pair: Study) -> None:
    _fill(pair, lora=LOST, full_finetune=BETTER)
    done = CliRunner().invoke(app, ["report", "--study", str(pair.path), "--figures", "none"])
    lines = done.output.strip().splitlines()
    assert lines[-2].startswith(f"{TASK}: use full_finetune")
    assert lines[-1].endswith("report.html")
    assert any(line.startswith(f"read first: {TASK}: lora has not learned") for line in lines)


def test_what_matters_is_read_first(pair: Study) -> None:
    _fill(pair, lora=LOST, full_finetune=BETTER)
    UnitWriter(pair, TASK, "full_finetune").phase1([0.8, 0.81], confirm=[0.8])
    UnitWriter(pair, TASK, "full_finetune").phase2(BETTER)
    write_ledger(pair, TASK, 99)
    build_report(pair, pair.units_of("all"))
    text = (pair.settings.analysis_path / "RESULTS.md").read_text("utf-8")
    first = text.split("## Read this first")[1].split("## Verdict")[0]
    order = ["has not learned", "at an edge of its range", "the report set was opened 99 times"]
    assert [first.index(each) for each in order] == sorted(first.index(each) for each in order)
    assert "full_finetune (learning_rate)" in first


def test_figures_have_the_intervals_of_the_table(pair: Study) -> None:
    """The seeds' figure had those over seeds alone beside a table that allows for examples too."""
    write_baselines(pair, TASK)
    right = (np.random.default_rng(0).random((4, 100)) < 0.8).astype(float)
    UnitWriter(pair, TASK, "lora").phase2_examples(right)
    content = gather_content(pair, pair.units_of("all"))
    row = next(row for row in content.unit_table.rows if row.method == "lora")
    assert row.interval_of == "seeds and examples"
    assert row.validation_interval is not None
    wide = row.validation_interval.high - (row.validation.mean or 0.0)
    drawn = {drawing.key: drawing.figure for _, drawing in content.drawings}
    for key in ("answer-small", f"seeds-{TASK}"):
        bars = [trace.error_x.array[0] for trace in drawn[key].data if trace.error_x.array]
        assert bars == pytest.approx([wide], rel=1e-4)


def test_papers_mark_what_has_not_learned(pair: Study) -> None:
    _fill(pair, lora=LOST, full_finetune=BETTER)
    build_report(pair, pair.units_of("all"))
    tables = pair.settings.analysis_path / "tables"
    mark = r"$^{\ddagger}$"
    scores, costs, pairs = (
        (tables / f"{name}.tex").read_text("utf-8") for name in ("scores", "costs", "verdicts")
    )
    assert f"0.505{mark}" in scores
    assert rf"\textbf{{0.862}}{mark}" not in scores
    assert f"0.505{mark}" in costs
    assert f"full\\_finetune & lora{mark} &" in pairs
    assert all(f"{mark} has not learned" in each for each in (scores, costs, pairs))


def test_a_term_is_explained_where_it_is_used_first() -> None:
    explain = Explainer()
    first, again = explain("Holm's <b> intervals & Holm"), explain("an interval, a reseeded seed")
    assert first == (
        f'<abbr title="{TERMS["Holm"]}">Holm</abbr>&#39;s &lt;b&gt; '
        f'<abbr title="{TERMS["interval"]}">intervals</abbr> &amp; Holm'
    )
    assert again == f'an interval, a reseeded <abbr title="{TERMS["seed"]}">seed</abbr>'


def test_every_term_stands_in_the_glossary(pair: Study) -> None:
    _fill(pair, lora=GOOD, full_finetune=BETTER)
    html = build_report(pair, pair.units_of("all")).read_text("utf-8")
    assert len(re.findall("<dt>", html.split('id="terms"')[1])) == len(TERMS)
    explained = re.findall('<abbr title="([^"]*)"', html)
    assert len(explained) == len(set(explained)) > 15
    assert html.index('id="answer"') < html.index('id="verdict"')


def test_the_first_figure_marks_the_best_baseline(pair: Study) -> None:
    """A verdict for the probe must be seen in it: its score stands beside the methods'."""
    _fill(pair, lora=GOOD, full_finetune=BETTER)
    overview = gather_content(pair, pair.units_of("all")).overview
    assert overview is not None
    marks = {trace.name: set(trace.x) for trace in overview.figure.data if trace.name}
    assert marks["the best baseline"] == {0.685}
    assert marks["what needs no training"] == {0.505}
