"""Writing the report: report.html, RESULTS.md, tables as CSV and LaTeX, figures as files."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from phasewise.records import write_atomically
from phasewise.report.columns import Row, Table, render_csv
from phasewise.report.content import ReportContent, gather_content
from phasewise.report.page import render_html, render_markdown
from phasewise.report.verdict_table import render_verdicts
from phasewise.settings import Study
from phasewise.steps import claim_folder, mark_report, report_hash

#: Beside the page: the verdict as a terminal shows it.
VERDICT_FILE = "verdict.txt"
#: Which figures are also written as files, for papers: each takes a third of a second.
FigureFiles = Literal["none", "main", "all"]


def build_report(
    study: Study, units: Sequence[tuple[str, str]], *, figures: FigureFiles = "none"
) -> Path:
    """Writes the report of the given units into the study's analysis folder.

    It can be built at any time: what has not been run yet, or has failed, is said in words.

    Args:
        study: The study whose records are read.
        units: (task, method) pairs, in the order of the report.
        figures: Written as PNG and SVG too; ``main``: those that `figure_list` marks as such.

    Returns:
        Path of ``report.html``; beside it lie ``RESULTS.md``, ``verdict.txt``, ``tables/``,
        ``paper/`` and ``figures/``.

    Raises:
        ConfigError: A unit is not of the study, or the folder is another study's.
    """
    claim_folder(study)
    folder = study.settings.analysis_path
    content = gather_content(study, units)
    _write_tables(content, folder / "tables")
    write_atomically(folder / "paper" / "methods.tex", content.paper.methods_latex + "\n")
    write_atomically(folder / "paper" / "references.bib", content.paper.bibtex)
    write_atomically(
        folder / "RESULTS.md", mark_report(render_markdown(content), report_hash(study, units))
    )
    page = folder / "report.html"
    write_atomically(folder / VERDICT_FILE, _say_verdict(content, page))
    write_atomically(page, render_html(content))
    _write_figures(content, folder / "figures", figures)
    return page


def _say_verdict(content: ReportContent, page: Path) -> str:
    """Returns what a terminal shows at the end: what to read first, the answer, the page."""
    lines = [f"read first: {note}" for note in content.notes]
    lines += [*content.answer[1:], content.answer[0], f"report: {os.path.relpath(page)}"]
    return "\n".join(lines) + "\n"


def _write_figures(content: ReportContent, folder: Path, wanted: FigureFiles) -> None:
    drawings = [each for each in content.drawings if wanted == "all" or each[1].main]
    if wanted == "none" or not drawings:
        return
    # matplotlib takes half a second to load, and every command that reads the report would.
    from phasewise.figures.static import write_static

    folder.mkdir(parents=True, exist_ok=True)
    for about, each in drawings:
        title = f"{about}: {each.title}"
        write_static(each.figure, folder / each.key, title=title, wide=each.wide)


def _write_tables(content: ReportContent, folder: Path) -> None:
    texts = {
        "units.csv": _render(content.unit_table),
        "noise.csv": _render(content.noise_table),
        "verdicts.csv": render_verdicts(content.verdicts),
        "runs.csv": _render(content.run_table),
        **{f"{name}.tex": text for name, text in content.latex_tables.items()},
    }
    for name, text in texts.items():
        write_atomically(folder / name, text)


def _render(table: Table[Row]) -> str:
    return render_csv(table.columns, table.rows)
