"""A study on toy data, and a search of it with the fake pool."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fake_pool import FakePool, write_tuning_study
from phasewise.settings import Study
from phasewise.summaries import Optimum
from phasewise.tuning.search import search_unit


@pytest.fixture
def tuning_study(tmp_path: Path) -> Callable[..., Study]:
    """Writes the study anew with other ``search`` settings and loads it."""
    return lambda **search: write_tuning_study(tmp_path, **search)


@pytest.fixture
def run_search(tmp_path: Path) -> Callable[..., Optimum]:
    """Searches the toy unit; keyword arguments go to the fake pool."""

    def run(study: Study, *, pool: FakePool | None = None, **fake: Any) -> Optimum:
        used = pool or FakePool(**fake)
        return search_unit(
            study, "toy", "lora", pool_factory=lambda: used, log=tmp_path / "search.log"
        )

    return run
