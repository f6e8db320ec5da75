"""The live page while a real study trains: what the workers write is what a browser shows."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from browser import Browser, needs_browser
from live_server import serve
from phasewise.settings import Study

TASK = "rotten_tomatoes"
_COUNT = "document.querySelector('.count strong').innerText"


@needs_browser
def test_a_real_run_shows_while_it_trains_and_counts_when_it_has_ended(
    write_study: Callable[..., Study], tmp_path: Path
) -> None:
    study = write_study(training={"evaluations_per_epoch": 2})
    command = [sys.executable, "-m", "phasewise", "defaults", "--study", str(study.path)]
    command += ["--task", TASK, "--method", "full_finetune"]
    environment = {**os.environ, "PHASEWISE_CACHE": str(tmp_path / "cache")}
    with serve(study) as address, Browser() as browser:
        browser.open(f"{address}/study/small/")
        assert browser.run(_COUNT) == "0"
        with (tmp_path / "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        try:
            browser.wait("document.querySelector('article .js-plotly-plot') !== null")
            shown = browser.run("document.querySelector('article').innerText")
            assert "full_finetune" in shown
            assert "default-" in shown
            assert "running" in browser.run("document.querySelector('.hero').innerText")
            browser.wait(f"{_COUNT} === '2'")
            assert "of training left" in browser.run("document.querySelector('.hero').innerText")
            browser.wait("document.querySelector('article') === null")
        finally:
            process.terminate()
            process.wait()
        assert browser.problems == []
        assert all(url.startswith(address) for url in browser.asked)
