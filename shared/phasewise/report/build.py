"""Writing the report: report.html, RESULTS.md and the tables as CSV."""

from collections.abc import Sequence
from pathlib import Path

from phasewise.records import write_atomically
from phasewise.report.content import gather_content
from phasewise.report.page import render_html, render_markdown
from phasewise.report.tables import write_csv
from phasewise.settings import Study


def build_report(study: Study, units: Sequence[tuple[str, str]]) -> Path:
    """Writes the report of the given units into the study's analysis folder.

    It can be built at any time: what has not been run yet, or has failed, is said in words.

    Args:
        study: The study whose records are read.
        units: (task, method) pairs, in the order of the report.

    Returns:
        Path of ``report.html``; ``RESULTS.md`` and ``tables/`` lie beside it.

    Raises:
        ConfigError: A unit is not of the study.
    """
    folder = study.settings.analysis_path
    content = gather_content(study, units)
    write_atomically(folder / "tables" / "units.csv", write_csv(content.unit_rows))
    write_atomically(folder / "tables" / "noise.csv", write_csv(content.noise_rows))
    write_atomically(folder / "tables" / "verdicts.csv", write_csv(content.verdict_rows))
    write_atomically(folder / "RESULTS.md", render_markdown(content))
    page = folder / "report.html"
    write_atomically(page, render_html(content))
    return page
