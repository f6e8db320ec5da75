"""A unit that is tracked, with an environment that says nothing of W&B."""

import os
from collections.abc import Callable, Iterator

import pytest

from phasewise.settings import Study
from synthetic import UnitWriter
from wandb_server import WandbServer

TASK = "rotten_tomatoes"


@pytest.fixture
def unit(write_study: Callable[..., Study], monkeypatch: pytest.MonkeyPatch) -> UnitWriter:
    """Offline, as there is no key."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    study = write_study(tracking={"wandb": True})
    monkeypatch.setenv("NETRC", str(study.path.parent / "no-netrc"))
    return UnitWriter(study, TASK, "lora")


@pytest.fixture
def server(unit: UnitWriter, monkeypatch: pytest.MonkeyPatch) -> Iterator[WandbServer]:
    """Runs of the unit go to it: there is a key; its patience is short."""
    with WandbServer() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
        monkeypatch.setenv("WANDB_X_FILE_STREAM_TRANSMIT_INTERVAL", "1")
        monkeypatch.setenv("WANDB_INIT_TIMEOUT", "4")
        monkeypatch.setenv("WANDB_FINISH_TIMEOUT", "5")
        yield server
