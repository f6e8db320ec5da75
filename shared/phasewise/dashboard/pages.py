"""The live pages as HTML and figures: the report's templates, and those of the dashboard."""

import json
from importlib.resources import files
from typing import Any, NamedTuple
from urllib.parse import quote

import plotly.offline
from markupsafe import Markup

from phasewise.dashboard.board import Board, RunLink, describe_settings
from phasewise.dashboard.watch import StudyWatch
from phasewise.figures import assign_styles
from phasewise.formatting import show_amount, show_count, show_score
from phasewise.live import LiveRun, read_live
from phasewise.records import RunRecord, read_record
from phasewise.report.content import gather_content
from phasewise.report.drawing import draw_figures
from phasewise.report.figure_list import LIVE_FIGURES
from phasewise.report.page import (
    describe_figures,
    encode_figures,
    make_environment,
    read_asset,
    render_html,
)
from phasewise.report.sections import build_unit_section
from phasewise.report.status import is_locked
from phasewise.report.traces import link_from_report
from phasewise.runs import UnitPaths

_ENVIRONMENT = make_environment(escaped=True, packages=("phasewise.dashboard",))
_ENVIRONMENT.filters |= {
    "amount": show_amount,
    "count": show_count,
    "score": show_score,
    "segment": lambda text: quote(str(text), safe=""),
}


class Fragment(NamedTuple):
    """The part of a page that changes, and its figures by key."""

    html: str
    figures: dict[str, Any]


def make_asset(name: str) -> tuple[str, str] | None:
    """Returns a file that pages load and its media type; None if there is none of that name."""
    own = files("phasewise.dashboard") / "templates"
    if name == "style.css":
        return read_asset("report.css") + (own / "live.css").read_text("utf-8"), "text/css"
    if name == "page.js":
        text = read_asset("report.js") + (own / "live.js").read_text("utf-8")
        return text, "text/javascript"
    return (plotly.offline.get_plotlyjs(), "text/javascript") if name == "plotly.js" else None


def render_index(boards: list[Board]) -> str:
    """Returns the list of studies."""
    return _ENVIRONMENT.get_template("index.html.jinja").render(
        boards=boards, figures=Markup(encode_figures([]))
    )


def render_page(watch: StudyWatch, fragment: Fragment, title: str, run: RunLink | None) -> str:
    """Returns a whole live page around its first fragment; it asks for the others by itself."""
    shown = json.loads(encode_figures([]))
    shown["figures"] = fragment.figures
    return _ENVIRONMENT.get_template("live.html.jinja").render(
        name=watch.name,
        description=watch.study.settings.description,
        title=title,
        run=run,
        fragment=Markup(fragment.html),
        figures=Markup(json.dumps(shown, separators=(",", ":")).replace("</", "<\\/")),
        tasks=list(watch.study.tasks),
        methods=list(watch.study.methods),
    )


def render_board(watch: StudyWatch) -> Fragment:
    """Returns the study as it stands."""
    board = watch.board()
    html = _ENVIRONMENT.get_template("board.html.jinja").render(board=board)
    return Fragment(
        html, describe_figures([each for unit in board.units for each in unit.drawings])
    )


def render_unit(watch: StudyWatch, task: str, method: str) -> Fragment:
    """Returns what the report says of a unit, with its figures and runs."""
    unit, study = watch.unit(task, method), watch.study
    section = build_unit_section(study, unit, assign_styles(study.methods)[method], "")
    runs = [record for records in unit.records.values() for record in records]
    html = _ENVIRONMENT.get_template("unit.html.jinja").render(
        name=watch.name, section=section, runs=runs
    )
    return Fragment(html, describe_figures(section.drawings))


def render_run(watch: StudyWatch, link: RunLink) -> Fragment | None:
    """Returns a run, under way or ended; None if there is neither a record nor a beginning.

    Raises:
        RecordError: Its record cannot be read.
    """
    paths = UnitPaths(watch.study, link.task, link.method)
    folder = paths.run(link.phase, link.run)
    run: RunRecord | LiveRun | None = read_live(folder) or read_record(folder)
    if run is None or run.config.name != link.run:
        return None
    style = assign_styles(watch.study.methods)[link.method]
    drawings = draw_figures(LIVE_FIGURES, [run], style, (link.task, link.method, link.run))
    html = _ENVIRONMENT.get_template("run.html.jinja").render(
        name=watch.name,
        link=link,
        run=run,
        record=run if isinstance(run, RunRecord) else None,
        status=run.status if isinstance(run, RunRecord) or is_locked(paths.lock) else "cut off",
        settings=describe_settings(run),
        drawings=drawings,
    )
    return Fragment(html, describe_figures(drawings))


def render_report(watch: StudyWatch, nonce: str) -> str:
    """Returns the whole report as of now; its links lead to the files that the server shows."""
    study = watch.study
    html = render_html(gather_content(study, study.units_of("all")), nonce=nonce)
    experiments = link_from_report(study, study.settings.experiments_path)
    base = f"/study/{quote(watch.name, safe='')}"
    return html.replace(f'href="{experiments}/', f'href="{base}/experiments/')
