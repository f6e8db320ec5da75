"""The live page in a browser: it follows the files, filters, opens, and is used by keyboard."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from browser import Browser, needs_browser
from live_server import serve
from phasewise.live import LiveLog
from phasewise.records import Evaluation, TrainPoint
from phasewise.runs import UnitPaths
from phasewise.settings import Study
from phasewise.tuning.locking import hold_lock
from phasewise.tuning.stopping import StopFlag
from synthetic import UnitWriter, make_config

pytestmark = needs_browser
TASK = "rotten_tomatoes"
_SCORED = Evaluation(step=1, epoch=0.1, train_loss=0.7, metrics={"accuracy": 0.5})
_OPEN = """
(() => { const unit = document.querySelector("details.unit[data-method=lora]");
unit.open = true; unit.scrollIntoView(); })()
"""
_TAB, _ENTER = ("Tab", 9), ("Enter", 13)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as found:
        yield found


@pytest.fixture
def study(write_study: Callable[..., Study]) -> Study:
    found = write_study(methods={"full_finetune": {}, "lora": {}, "dora": {}})
    unit = UnitWriter(found, TASK, "lora")
    unit.phase0([0.5, 0.52], [0.51, 0.53])
    unit.phase1([0.6, 0.7, 0.65, 0.62, 0.66, 0.68], final=False)
    unit.run("confirm-001-0", None, status="diverged", message="the loss became nan at step 4")
    return found


@contextmanager
def _training(study: Study) -> Iterator[LiveLog]:
    """A run of full fine-tuning that has made a step and been scored."""
    paths = UnitPaths(study, TASK, "full_finetune")
    with hold_lock(paths.lock, lambda text: None, StopFlag()):
        config = make_config(study, TASK, "full_finetune", "default-0")
        log = LiveLog(paths.run("phase0", "default-0"), config, 12)
        log.note("train", TrainPoint(step=1, loss=0.7, learning_rate=1e-3))
        yield log


def _shown(browser: Browser) -> list[str]:
    found: list[str] = browser.run(
        "[...document.querySelectorAll('details.unit')].filter((e) => !e.hidden)"
        ".map((e) => e.dataset.method)"
    )
    return found


def test_curves_grow_while_a_run_trains_and_what_is_open_stays_open(
    browser: Browser, study: Study
) -> None:
    points = "document.querySelector('[data-figure^=live-loss]').data.at(-1).y.length"
    with serve(study) as address:
        browser.open(f"{address}/study/small/")
        browser.wait("document.getElementById('connection').className === 'live'")
        browser.run(_OPEN)
        browser.wait("document.querySelector('details.unit .js-plotly-plot') !== null")
        with _training(study) as log:
            browser.wait("document.querySelectorAll('article .js-plotly-plot').length === 1")
            log.note("evaluation", _SCORED)
            browser.wait("document.querySelectorAll('article .js-plotly-plot').length === 2")
            browser.wait("document.documentElement.scrollWidth === 1400")  # one was alone before
            assert browser.run(points) == 1
            plot = "document.querySelector('[data-figure^=live-loss]')"
            browser.run(f"{plot}.dataset.mark = 'same'")
            log.note("train", TrainPoint(step=2, loss=0.6, learning_rate=1e-3))
            browser.wait(f"{points} === 2")
            assert browser.run(f"{plot}.dataset.mark") == "same"  # it moved on, unflickering
            assert "step 2 of 12" in browser.run("document.querySelector('article').innerText")
        browser.wait("document.querySelector('article') === null")
        UnitWriter(study, TASK, "lora").run("trial-007", 0.9)
        browser.wait("document.querySelector('.count strong').innerText === '7'")
        assert browser.run("document.querySelector('details.unit[data-method=lora]').open")
        assert browser.run("document.querySelector('details.unit .js-plotly-plot') !== null")
        assert browser.problems == []
        assert all(url.startswith(address) for url in browser.asked)


def test_filters_narrow_the_page_and_stay_in_its_address(browser: Browser, study: Study) -> None:
    with serve(study) as address, _training(study):
        browser.open(f"{address}/study/small/")
        assert _shown(browser) == ["dora", "full_finetune", "lora"]
        for name, value, left in (
            ("status", "running", ["full_finetune"]),
            ("status", "stopped", ["lora"]),
            ("status", "waiting", ["dora"]),
            ("status", "failures", ["lora"]),
            ("status", "", ["dora", "full_finetune", "lora"]),
            ("method", "dora", ["dora"]),
        ):
            browser.run(
                f"document.querySelector('select[name={name}]').value = '{value}';"
                "document.getElementById('filters').dispatchEvent(new Event('change'))"
            )
            assert _shown(browser) == left, (name, value)
        assert browser.run("location.search") == "?method=dora"
        browser.open(f"{address}/study/small/?method=lora")
        assert _shown(browser) == ["lora"]


def test_a_unit_is_opened_by_keyboard_alone(browser: Browser, study: Study) -> None:
    with serve(study) as address:
        browser.open(f"{address}/study/small/")
        for _ in range(30):
            browser.press(*_TAB)
            if browser.run("document.activeElement.tagName") == "SUMMARY":
                break
        outline = "getComputedStyle(document.activeElement).outlineStyle"
        assert browser.run(outline) == "solid"
        browser.press(*_ENTER)
        browser.wait("document.querySelector('details.unit[open]') !== null")


@pytest.mark.parametrize("width", [1400, 390])
def test_nothing_is_wider_than_the_page(browser: Browser, study: Study, width: int) -> None:
    browser.resize(width, 900)
    with serve(study) as address, _training(study):
        browser.open(f"{address}/study/small/")
        browser.run(_OPEN)
        browser.wait("document.querySelector('details.unit .js-plotly-plot') !== null")
        assert browser.run("document.documentElement.scrollWidth") == width
        browser.open(f"{address}/study/small/run/{TASK}/lora/phase1/trial-001/")
        browser.wait("document.querySelectorAll('.js-plotly-plot').length === 2")
        assert browser.run("document.documentElement.scrollWidth") == width


def test_a_server_that_ends_is_said(browser: Browser, study: Study) -> None:
    with serve(study) as address:
        browser.open(f"{address}/study/small/")
        browser.wait("document.getElementById('connection').className === 'live'")
    browser.wait("document.getElementById('connection').className === 'lost'")
    assert "lora" in browser.run("document.getElementById('live').innerText")
