"""The HTML page: one file that loads nothing, with plotly.js in it once, compressed."""

import base64
import gzip
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from typing import Any

import plotly.offline
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from phasewise.figures import DARK, LIGHT
from phasewise.report.columns import keep_cell, render_markdown_table
from phasewise.report.content import ReportContent
from phasewise.report.drawing import Drawing
from phasewise.report.terms import TERMS, Explainer

_TEMPLATES = "templates"


def render_html(content: ReportContent, *, nonce: str = "") -> str:
    """Returns the whole page; every text from settings or records is escaped.

    Args:
        content: The report.
        nonce: Of the script, where a server's policy asks for one.
    """
    drawings = [drawing for _, drawing in content.drawings]
    template = make_environment(escaped=True).get_template("report.html.jinja")
    return template.render(
        content=content,
        nonce=nonce,
        style=Markup(read_asset("report.css")),
        script=Markup(read_asset("report.js")),
        terms=TERMS,
        figures=Markup(encode_figures(drawings)),
        plotly=Markup(_compressed_plotly() if drawings else ""),
        generated=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


def render_markdown(content: ReportContent) -> str:
    """Returns RESULTS.md: the same tables and findings; no time stamp, so that it can be diffed."""
    template = make_environment(escaped=False).get_template("RESULTS.md.jinja")
    text = template.render(content=content, terms=TERMS)
    return text.rstrip() + "\n"


def make_environment(*, escaped: bool, packages: tuple[str, ...] = ()) -> Environment:
    """Returns what renders the templates of the report.

    Args:
        escaped: Whether texts are HTML.
        packages: Whose folders ``templates`` come first.
    """
    loaders = [PackageLoader(name, _TEMPLATES) for name in (*packages, "phasewise.report")]
    environment = Environment(
        loader=ChoiceLoader(loaders),
        autoescape=escaped,
        undefined=StrictUndefined,
        finalize=None if escaped else _escape_text,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cell"] = keep_cell
    environment.filters["explain"] = Explainer()
    environment.filters["table"] = render_markdown_table
    environment.filters["whole"] = _keep_whole
    return environment


def _escape_text(value: object) -> object:
    """Keeps texts of settings and records from being read as HTML in Markdown."""
    return value.replace("<", "&lt;") if isinstance(value, str) else value


def _keep_whole(cell: str) -> str:
    """Keeps an interval, and a mean with its spread, from being broken into two lines."""
    return cell.replace(", ", ",\u00a0").replace(" ± ", "\u00a0±\u00a0")


def describe_figures(drawings: Sequence[Drawing]) -> dict[str, Any]:
    """Returns key to figure without its template, which the page holds once per theme."""
    figures: dict[str, Any] = {}
    for drawing in drawings:
        figure = json.loads(drawing.figure.to_json())
        figure["layout"].pop("template", None)
        figures[drawing.key] = figure
    return figures


def encode_figures(drawings: Sequence[Drawing]) -> str:
    """Returns themes and figures as JSON that may stand in a page."""
    content = {"themes": {"light": LIGHT, "dark": DARK}, "figures": describe_figures(drawings)}
    # Inside <script> only "</" could end the element; JSON allows the escape.
    return json.dumps(content, separators=(",", ":")).replace("</", "<\\/")


@cache
def _compressed_plotly() -> str:
    """Returns plotly.js, gzip and base64: 2 MB instead of 4.8; browsers unpack it by themselves."""
    script = plotly.offline.get_plotlyjs().encode()
    return base64.b64encode(gzip.compress(script, 9, mtime=0)).decode()


def read_asset(name: str) -> str:
    """Returns a style sheet or a script of the report."""
    return files("phasewise.report").joinpath(_TEMPLATES, name).read_text(encoding="utf-8")
