"""What `machine.gpus_per_run` goes with, refused in a line where it does not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from phasewise.errors import ConfigError
from phasewise.settings import MachineSettings, Study
from phasewise.training import hardware
from phasewise.training.hardware import describe_crowding, find_gpu_groups
from phasewise.tuning.units import Unit

_TWO: dict[str, Any] = {"device": "cpu", "gpus_per_run": 2}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"machine": _TWO, "training": {"engine": "packed"}},
            "gpus_per_run 2: training.engine packed trains many runs on one device; use engine: "
            "auto or trainer, or gpus_per_run: 1",
        ),
        ({"machine": {"fsdp_config": "f.json"}}, "expected gpus_per_run of 2 or more, got 1"),
        ({"machine": {**_TWO, "fsdp_config": "none.json"}}, "No such file"),
        ({"machine": {**_TWO, "fsdp_config": "list.json"}}, "expected a JSON object, got list"),
        ({"machine": {**_TWO, "fsdp_config": "torn.json"}}, "torn.json: not JSON"),
        ({"machine": {**_TWO, "fsdp_config": "old.json"}}, "version 1: expected 2, or nothing"),
        ({"machine": {**_TWO, "deepspeed_config": "f.json"}}, "deepspeed is not installed; pip"),
        (
            {"machine": {**_TWO, "fsdp_config": "f.json", "deepspeed_config": "f.json"}},
            "exclude each other",
        ),
        ({"machine": _TWO, "resources": {"gpu": 1}}, "resources.gpu 1 for rotten_tomatoes/"),
        (
            {
                "machine": {**_TWO, "fsdp_config": "f.json"},
                "training": {"optimizer": "adamw_8bit"},
            },
            "training.optimizer adamw_8bit: bitsandbytes holds no moments of divided weights",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(
    write_study: Callable[..., Study], tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    for name, text in {"f": "{}", "list": "[]", "torn": "{", "old": '{"fsdp_version": 1}'}.items():
        (tmp_path / f"{name}.json").write_text(text)
    with pytest.raises(ConfigError, match=message) as raised:
        write_study(**changes)
    assert "\n" not in str(raised.value)


def test_several_devices_choose_the_trainer_and_their_file_is_found_from_anywhere(
    write_study: Callable[..., Study], tmp_path: Path
) -> None:
    (tmp_path / "f.json").write_text("{}")
    study = write_study(machine={**_TWO, "fsdp_config": "f.json", "threads": 3})
    engine = Unit(study, "rotten_tomatoes", "lora").engine
    assert engine == ("trainer", "machine.gpus_per_run is 2: all of them train it")
    machine = study.settings.machine
    assert machine.fsdp_config == tmp_path / "f.json"
    assert machine.cores == 6
    assert MachineSettings.model_validate_json(machine.model_dump_json()) == machine


def test_gpus_are_given_in_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "_visible_gpus", lambda: ["0", "1", "2", "5", "6"])
    assert find_gpu_groups(MachineSettings()) == ["0", "1", "2", "5", "6"]
    assert find_gpu_groups(MachineSettings(gpus_per_run=2)) == ["0,1", "2,5"]
    assert not describe_crowding(MachineSettings(gpus_per_run=2, workers=2))
    crowded = describe_crowding(MachineSettings(gpus_per_run=2, workers=3))
    assert crowded.startswith("3 workers share 4 GPUs")
    with pytest.raises(ConfigError, match="gpus_per_run 8: this machine shows 5"):
        find_gpu_groups(MachineSettings(gpus_per_run=8))
    assert find_gpu_groups(MachineSettings(device="cpu", gpus_per_run=8)) == []
