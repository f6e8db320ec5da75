"""The page in a browser: what it draws, whether all of it can be read, wide and narrow."""

from collections.abc import Callable, Iterator
from typing import Literal

import pytest

from browser import Browser, needs_browser
from phasewise.report import build_report
from phasewise.report.figure_list import STUDY_FIGURES, TASK_FIGURES, UNIT_FIGURES
from phasewise.settings import Study
from synthetic import UnitWriter, write_baselines

pytestmark = needs_browser
TASK = "rotten_tomatoes"
METHODS = ("full_finetune", "lora")
_DRAW_ALL = """
document.querySelectorAll("details").forEach((each) => { each.open = true; });
document.querySelectorAll("[data-figure]").forEach(phasewise.draw);
"""
_DRAWN = "document.querySelectorAll('.js-plotly-plot .main-svg').length > 0"
#: Texts of figures that reach out of their figure, by more than a pixel of rounding.
_CUT = """
[...document.querySelectorAll(".js-plotly-plot")].flatMap((plot) => {
  const box = plot.getBoundingClientRect();
  return [...plot.querySelectorAll("text")].filter((text) => {
    const own = text.getBoundingClientRect();
    return own.width && (own.left < box.left - 1 || own.right > box.right + 1
      || own.top < box.top - 1 || own.bottom > box.bottom + 1);
  }).map((text) => `${plot.dataset.figure}: ${text.textContent}`);
})
"""
#: Labels of one axis that lie on each other.
_COLLIDING = """
[...document.querySelectorAll(".js-plotly-plot")].flatMap((plot) =>
  [...plot.querySelectorAll(".xaxislayer-above")].flatMap((axis) => {
    const boxes = [...axis.querySelectorAll(".xtick text")].map((text) =>
      [text.textContent, text.getBoundingClientRect(), text.getAttribute("transform") || ""]);
    const level = boxes.filter(([, , turned]) => !/rotate\\((?!0)/.test(turned));
    return level.slice(1).filter(([, box], index) => box.left < level[index][1].right)
      .map(([name]) => `${plot.dataset.figure}: ${name}`);
  }))
"""
_CLIPPED = """
[...document.querySelectorAll(".scroll")].filter((each) => each.scrollWidth > each.clientWidth)
  .map((each) => each.getAttribute("aria-label"))
"""


@pytest.fixture
def page(write_study: Callable[..., Study]) -> str:
    """A report of two methods, of long names and six trials, as a URL."""
    study = write_study(
        methods={name: {} for name in METHODS}, baselines={"seeds": 3}, validation={"seeds": 3}
    )
    write_baselines(study, TASK)
    for method, mean in zip(METHODS, (0.7, 0.76), strict=True):
        unit = UnitWriter(study, TASK, method)
        unit.phase0([mean - 0.06, mean - 0.05, mean - 0.04], [mean - 0.05, mean - 0.04, mean])
        unit.phase1([mean, mean + 0.02, mean - 0.01, mean + 0.03, mean + 0.01, mean - 0.02])
        unit.phase2([mean, mean + 0.01, mean - 0.01])
    return build_report(study, study.units_of("all")).absolute().as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as found:
        yield found


def _open(browser: Browser, page: str) -> None:
    browser.open(page)
    browser.wait(_DRAWN)
    browser.run(_DRAW_ALL)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_figure_is_drawn_without_an_error_and_nothing_is_loaded(
    browser: Browser, page: str, theme: Literal["light", "dark"]
) -> None:
    browser.prefer(theme)
    _open(browser, page)
    expected = len(STUDY_FIGURES) + len(TASK_FIGURES) + 2 * len(UNIT_FIGURES)
    assert browser.run("document.querySelectorAll('.js-plotly-plot').length") == expected
    assert browser.problems == []
    assert browser.asked == [page]
    assert "6 trials: the ranking of importances cannot be trusted." in browser.run(
        "document.body.innerText"
    )
    other = "Dark" if theme == "light" else "Light"
    assert browser.run("document.getElementById('theme').textContent") == other


@pytest.mark.parametrize("width", [1400, 390])
def test_nothing_is_cut_and_no_labels_collide(browser: Browser, page: str, width: int) -> None:
    browser.resize(width, 900)
    _open(browser, page)
    assert browser.run(_CUT) == []
    assert browser.run(_COLLIDING) == []
    assert browser.run("document.documentElement.scrollWidth") == width
    if width == 1400:  # narrow tables are scrolled
        assert browser.run(_CLIPPED) == []


def test_units_are_folded_and_a_link_opens_what_it_leads_to(browser: Browser, page: str) -> None:
    browser.open(page)
    assert browser.run("document.querySelectorAll('details.unit:not([open])').length") == 2
    run = "run.rotten_tomatoes.lora.trial-003"
    browser.run(f"location.hash = '{run}'")
    browser.wait(f"document.getElementById('{run}').closest('details').open")
