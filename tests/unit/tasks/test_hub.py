import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import datasets
import pytest
from task_rows import classification_rows, write_jsonl

from phasewise.errors import DataError
from phasewise.settings import HubSource
from phasewise.tasks import hub

REVISION = "bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c"
SOURCE = HubSource(path="someone/films", config="rte", revision=REVISION)


@pytest.fixture
def stand_in(tmp_path: Path) -> Path:
    """A folder that ``datasets`` reads as it would a hub repository."""
    folder = tmp_path / "stand_in"
    write_jsonl(folder / "train.jsonl", classification_rows(6, "train"))
    write_jsonl(folder / "validation.jsonl", classification_rows(4, "dev"))
    return folder


@pytest.fixture(autouse=True)
def own_hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    cache = tmp_path / "datasets"
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", cache)
    return cache


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not offline by wish, but nothing answers."""
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(hub, "answers", lambda endpoint: False)


def fill_cache(stand_in: Path, cache: Path, revision: str) -> None:
    """Lays the files of a load into the places where a load from the hub leaves them."""
    loaded = datasets.load_dataset(str(stand_in), cache_dir=str(cache / "scratch"))
    made = Path(loaded["train"].cache_files[0]["filename"]).parent
    folder = cache / "someone___films" / "rte" / "0.0.0" / revision
    folder.mkdir(parents=True)
    for split in ("train", "validation"):
        (arrow,) = made.glob(f"*-{split}.arrow")
        (folder / f"films-{split}.arrow").write_bytes(arrow.read_bytes())
    info = json.loads((made / "dataset_info.json").read_text())
    info |= {"dataset_name": "films", "config_name": "rte", "builder_name": "parquet"}
    (folder / "dataset_info.json").write_text(json.dumps(info))


def test_a_folder_given_as_hub_path_is_read(stand_in: Path) -> None:
    source = HubSource(path=str(stand_in), revision=REVISION)
    table = hub.read_hub(source, "validation")
    assert list(table.rows) == classification_rows(4, "dev")
    assert table.place(3).endswith("split 'validation': row 4")


@pytest.mark.parametrize(
    ("config", "split", "message"),
    [(None, "dev", 'Unknown split "dev"'), ("sst9", "train", "'sst9' not found")],
)
def test_unknown_split_or_config_is_refused(
    stand_in: Path, config: str | None, split: str, message: str
) -> None:
    source = HubSource(path=str(stand_in), config=config, revision=REVISION)
    with pytest.raises(DataError, match=message):
        hub.read_hub(source, split)


@pytest.mark.usefixtures("no_network")
def test_no_network_fails_at_once_and_says_how_to_work_offline() -> None:
    began = time.monotonic()
    with pytest.raises(DataError, match=r"does not answer.*PHASEWISE_DATA=.*HF_HUB_OFFLINE"):
        hub.read_hub(SOURCE, "train")
    assert time.monotonic() - began < 5


def test_offline_by_wish_does_not_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(endpoint: str) -> bool:
        raise AssertionError(f"probed {endpoint}")

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(hub, "answers", refuse)
    with pytest.raises(DataError, match="HF_HUB_OFFLINE is set"):
        hub.read_hub(SOURCE, "train")


@pytest.mark.usefixtures("no_network")
def test_without_network_the_cached_revision_is_read(stand_in: Path, own_hub_cache: Path) -> None:
    fill_cache(stand_in, own_hub_cache, REVISION)
    assert list(hub.read_hub(SOURCE, "train").rows) == classification_rows(6, "train")


@pytest.mark.usefixtures("no_network")
def test_another_revision_in_the_cache_is_refused(stand_in: Path, own_hub_cache: Path) -> None:
    fill_cache(stand_in, own_hub_cache, "0" * 40)
    with pytest.raises(DataError, match="cache holds revision 0000"):
        hub.read_hub(SOURCE, "train")


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def test_a_silent_server_does_not_count_as_an_answer(listening: socket.socket) -> None:
    began = time.monotonic()
    assert not hub.answers(f"http://127.0.0.1:{listening.getsockname()[1]}", seconds=0.3)
    assert time.monotonic() - began < 2


def test_a_server_that_refuses_is_there(listening: socket.socket) -> None:
    def refuse() -> None:
        connection, _ = listening.accept()
        connection.recv(1000)
        connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
        connection.close()

    threading.Thread(target=refuse, daemon=True).start()
    assert hub.answers(f"http://127.0.0.1:{listening.getsockname()[1]}", seconds=2)
