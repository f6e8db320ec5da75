from pathlib import Path

import pytest

from fake_pool import write_tuning_study
from phasewise.errors import ConfigError
from phasewise.tuning import narrowing
from phasewise.tuning.narrowing import narrow_ranges, unfinished_sources


def test_only_a_study_that_refines_another_needs_something_that_narrows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(narrowing, "recipe_modules", lambda name: [])
    assert narrow_ranges(write_tuning_study(tmp_path), "toy", "lora") is None
    study = write_tuning_study(tmp_path, refine_from="coarse.yaml")
    for ask in (narrow_ranges, unfinished_sources):
        with pytest.raises(ConfigError, match=r"search\.refine_from: no recipe here narrows"):
            ask(study, "toy", "lora")
