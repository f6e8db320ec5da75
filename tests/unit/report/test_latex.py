"""The tables for a paper: their structure always, their compilation where there is a LaTeX."""

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phasewise.report import build_report
from phasewise.report.latex import escape_latex
from phasewise.settings import Study
from synthetic import UnitWriter

TASK, OTHER = "rotten_tomatoes", "imdb"
Writer = Callable[..., Study]
LATEX = shutil.which("pdflatex") or shutil.which("tectonic")


@pytest.fixture
def tables(write_study: Writer, study_content: dict[str, Any]) -> Path:
    """Folder of the tables; lora leads on one task, on the other dora has no run."""
    content = study_content["tasks"][TASK]
    study = write_study(
        name="a_study",
        tasks={TASK: content, OTHER: content},
        methods={"lora": {}, "full_finetune": {}, "dora": {}},
    )
    rng = np.random.default_rng(0)
    hard = rng.random(400)
    rates = {"lora": 0.85, "full_finetune": 0.75, "dora": 0.845}
    for task, method in study.units_of("all"):
        if (task, method) != (OTHER, "dora"):
            right = hard + rng.normal(0, 0.05, (8, 400)) < rates[method]
            UnitWriter(study, task, method).phase2_examples(right.astype(float))
    return build_report(study, study.units_of("all")).parent / "tables"


def _rows(text: str) -> list[list[str]]:
    body = text.split("\\toprule")[1].split("\\bottomrule")[0]
    return [re.split(r"(?<!\\)&", line) for line in body.splitlines() if line.endswith("\\\\")]


@pytest.mark.parametrize("name", ["scores", "costs", "verdicts"])
def test_tables_are_whole_and_every_row_has_all_columns(tables: Path, name: str) -> None:
    text = (tables / f"{name}.tex").read_text("utf-8")
    columns = re.search(r"\\begin\{tabular\}\{(\w+)\}", text)
    assert columns
    rows = _rows(text)
    assert len(rows) > 2
    assert {len(row) for row in rows} == {len(columns[1])}
    assert re.findall(r"\\begin\{(\w+)\}", text) == ["table", "tabular"]
    assert re.findall(r"\\end\{(\w+)\}", text) == ["tabular", "table"]
    assert re.sub(r"\\[{}]", "", text).count("{") == re.sub(r"\\[{}]", "", text).count("}")
    assert text.isascii()
    plain = re.sub(r"\\label\{[^}]*\}|\$[^$]*\$|^%.*$", "", text, flags=re.M)
    assert not re.search(r"(?<!\\)[_#^~%]", plain)
    assert text.count("$") % 2 == 0


def test_best_is_bold_and_what_cannot_be_told_apart_is_marked(tables: Path) -> None:
    second, first = _rows((tables / "scores.tex").read_text("utf-8"))[1:]
    dora, full, lora = first[2:]
    assert first[0].strip() == r"rotten\_tomatoes"
    assert sum(r"\textbf{" in cell for cell in first) == 1
    assert r"\textbf" in lora or r"\textbf" in dora
    assert (r"\dagger" in lora) != (r"\dagger" in dora)
    assert r"\dagger" not in full
    assert r"\textbf" not in full
    assert second[2].strip() == "--"


def test_everything_special_is_escaped() -> None:
    assert escape_latex(r"50 % of a_b & {c} \d #1 $x ~^ −1 ± 2 ≥ 3 <4>") == (
        r"50 \% of a\_b \& \{c\} \textbackslash{}d \#1 \$x \textasciitilde{}\textasciicircum{} "
        r"$-$1 $\pm$ 2 $\geq$ 3 \textless{}4\textgreater{}"
    )


@pytest.mark.skipif(LATEX is None, reason="no LaTeX is installed")
def test_tables_compile(tables: Path, tmp_path: Path) -> None:
    inputs = "".join(rf"\input{{{path}}}" for path in sorted(tables.glob("*.tex")))
    document = (
        r"\documentclass{article}\usepackage{booktabs}\begin{document}" + inputs + r"\end{document}"
    )
    (tmp_path / "paper.tex").write_text(document, "utf-8")
    command = [str(LATEX), "paper.tex"]
    done = subprocess.run(command, cwd=tmp_path, input="", capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
