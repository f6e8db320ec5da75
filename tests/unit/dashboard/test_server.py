"""What the dashboard answers, and what it refuses."""

import json
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from starlette.testclient import TestClient

from live_server import serve
from phasewise.dashboard import pages
from phasewise.dashboard.server import make_app
from phasewise.dashboard.watch import StudyWatch
from phasewise.live import LiveLog
from phasewise.records import TrainPoint
from phasewise.runs import UnitPaths
from phasewise.settings import Study
from phasewise.tuning.locking import hold_lock
from phasewise.tuning.stopping import StopFlag
from synthetic import UnitWriter, make_config, write_baselines

TASK = "rotten_tomatoes"
RUN = f"/study/small/run/{TASK}/lora/phase1"


@pytest.fixture
def study(write_study: Callable[..., Study]) -> Study:
    """LoRA searched, with a failure; full fine-tuning not begun."""
    found = write_study(description="Made up <b>& more</b>.")
    write_baselines(found, TASK)
    unit = UnitWriter(found, TASK, "lora")
    unit.phase0([0.5, 0.52], [0.51, 0.53])
    unit.phase1([0.6, 0.7, 0.65, 0.62], confirm=[0.68], final=False)
    unit.run("trial-004", None, status="failed", message="<script>alert(1)</script> no memory")
    return found


@pytest.fixture
def client(study: Study) -> TestClient:
    app = make_app([StudyWatch(study.path)])
    return TestClient(app, base_url="http://127.0.0.1:8765", follow_redirects=True)


def _text(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def test_the_page_says_what_is_best_what_failed_and_what_is_left(client: TestClient) -> None:
    page = client.get("/")
    assert page.status_code == 200
    assert page.url.path == "/study/small/"
    text = _text(page.text)
    assert "0.700 accuracy, higher is better" in text
    assert "lora, trial-001 : one trial on the search set; 0.680 on fresh seeds" in text
    assert "7 of 28 runs" in text  # each unit: 2 defaults, 4 trials, 3 x 2 repetitions, 2 seeds
    assert "of training left" in text
    assert "no memory" in text
    assert "<script>alert" not in page.text
    assert "&lt;b&gt;&amp; more" in page.text


def test_a_unit_opens_on_its_figures_and_runs(client: TestClient) -> None:
    found = client.get(f"/study/small/unit/{TASK}/lora").json()
    names = {key.split("-")[0] for key in found["figures"]}
    assert {"history", "parallel", "slices", "curves", "loss"} <= names
    assert f'href="{RUN}/trial-003/"' in found["html"]
    shown = set(re.findall(r'data-figure="([^"]+)"', found["html"]))
    assert shown == set(found["figures"])


def test_a_run_has_a_page_that_leads_to_its_record(client: TestClient) -> None:
    page = client.get(f"{RUN}/trial-001/")
    assert "0.700 accuracy on the search set" in _text(page.text)
    link = re.search(r'href="([^"]+record\.json)"', page.text)
    assert link is not None
    assert client.get(link[1]).json()["search_metrics"] == {"accuracy": 0.7}
    assert "no memory" in client.get(f"{RUN}/trial-004/").text


def test_the_report_is_the_one_that_is_written_and_its_links_lead_somewhere(
    client: TestClient,
) -> None:
    page = client.get("/study/small/report")
    assert "What should I use?" in page.text
    links = set(re.findall(r'href="(/study/small/experiments/[^"]+)"', page.text))
    assert len(links) > 7
    assert {client.get(link).status_code for link in links} == {200}
    nonce = re.search(r'<script nonce="([^"]+)"', page.text)
    assert nonce is not None
    assert f"'nonce-{nonce[1]}'" in page.headers["content-security-policy"]


@pytest.mark.parametrize("path", ["/study/small/", "/study/small/report", f"{RUN}/trial-001/"])
def test_no_page_loads_anything_from_elsewhere(client: TestClient, path: str) -> None:
    page = client.get(path)
    assert not re.search(r'(?:src|href|action)="(?:https?:)?//', page.text)
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert page.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8765", "127.0.0.1.evil.example"])
def test_a_foreign_name_for_this_machine_is_refused(client: TestClient, host: str) -> None:
    for path in ("/", "/study/small/", "/study/small/experiments/study.json", "/assets/page.js"):
        assert client.get(path, headers={"host": host}).status_code == 400
    assert client.get("/", headers={"host": "localhost:9"}).status_code == 200


def test_nothing_can_be_written(client: TestClient) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        for path in ("/study/small/", f"{RUN}/trial-001/", "/study/small/experiments/study.json"):
            assert client.request(method, path).status_code == 405


@pytest.mark.parametrize(
    "path",
    [
        "/study/other/",
        "/study/small/unit/rotten_tomatoes/none",
        "/study/small/unit/../../study.yaml",
        f"{RUN}/trial-099/",
        f"{RUN}/..%2F..%2Fphase0%2Fdefault-0/",
        f"{RUN}/%2e%2e/",
        f"/study/small/run/{TASK}/lora/..%2Fphase1/trial-001/",
        f"{RUN}/outside/",
        "/study/small/experiments/../../study.yaml",
        "/study/small/experiments/..%2f..%2fstudy.yaml",
        "/study/small/experiments/%2e%2e/%2e%2e/study.yaml",
        "/study/small/experiments//etc/passwd",
        "/study/small/experiments/link.yaml",
        "/assets/..%2fboard.py",
        "/assets/board.html.jinja",
    ],
)
def test_no_path_leads_out_of_the_studys_folder(
    client: TestClient, study: Study, tmp_path: Path, path: str
) -> None:
    outside = tmp_path / "outside"
    UnitPaths(study, TASK, "lora").run("phase1", "trial-001").rename(outside)
    UnitPaths(study, TASK, "lora").run("phase1", "outside").symlink_to(outside)
    (study.settings.experiments_path / "link.yaml").symlink_to(study.path)
    found = client.get(path)
    assert found.status_code == 404
    assert "rotten_tomatoes:" not in found.text


def test_several_studies_are_listed(
    study: Study, tmp_path: Path, study_content: dict[str, Any]
) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(json.dumps({**study_content, "name": "other"}), "utf-8")
    client = TestClient(
        make_app([StudyWatch(study.path), StudyWatch(other)]), base_url="http://localhost"
    )
    text = _text(client.get("/").text)
    assert "small stopped" in text
    assert "other waiting" in text


def test_an_edited_study_is_read_again_and_a_broken_one_is_kept(
    client: TestClient, study: Study, study_content: dict[str, Any]
) -> None:
    study.path.write_text("name: [", "utf-8")
    assert "shown as it was read before" in _text(client.get("/study/small/").text)
    study.path.write_text(json.dumps({**study_content, "validation": {"seeds": 9}}), "utf-8")
    text = _text(client.get("/study/small/").text)
    assert "of 42 runs" in text
    assert "shown as it was read before" not in text


def test_pages_are_drawn_one_at_a_time(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """In two threads at once, plotly met a pandas that the other was still importing."""
    under_way, most = [0], [0]

    def draw(*_: object) -> pages.Fragment:
        under_way[0] += 1
        most[0] = max(most[0], under_way[0])
        time.sleep(0.05)
        under_way[0] -= 1
        return pages.Fragment("", {})

    monkeypatch.setattr(pages, "render_unit", draw)
    with serve(study) as address, ThreadPoolExecutor(6) as threads:
        url = f"{address}/study/small/unit/{TASK}/lora"
        list(threads.map(lambda _: urlopen(url).read(), range(6)))
    assert most == [1]


def test_events_tell_what_has_changed_as_soon_as_it_is_written(study: Study) -> None:
    paths = UnitPaths(study, TASK, "full_finetune")
    with serve(study) as address, urlopen(f"{address}/study/small/events", timeout=60) as stream:

        def read() -> dict[str, Any]:
            while not (line := stream.readline()).startswith(b"data: "):
                pass
            found: dict[str, Any] = json.loads(line[6:])
            return found

        assert "Training now" in read()["html"]
        with hold_lock(paths.lock, lambda text: None, StopFlag()):
            config = make_config(study, TASK, "full_finetune", "default-0")
            log = LiveLog(paths.run("phase0", "default-0"), config, 12)
            for step in (1, 2, 3):
                log.note("train", TrainPoint(step=step, loss=1 / step, learning_rate=1e-3))
            found = read()
            while "step 3 of 12" not in found["html"]:
                found = read()
            (loss,) = found["figures"]["live-loss-rotten_tomatoes-full_finetune"]["data"]
            assert loss["name"] == "running"
            assert loss["y"][:2] == [1.0, 0.5]
        while "step 3 of 12" in found["html"]:  # its controller has ended: nothing trains
            found = read()
