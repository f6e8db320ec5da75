"""Two studies of one name never share results, whichever command meets the second."""

from pathlib import Path

import pytest
import yaml

from fake_pool import FakePool, write_tuning_study
from phasewise.cli.app import EXIT_INPUT, main
from phasewise.tuning.phases import run_defaults

UNIT = "--task toy --method lora"


@pytest.mark.parametrize(
    "command",
    [
        "baselines --task toy",
        f"defaults {UNIT}",
        f"search {UNIT}",
        f"validate {UNIT}",
        "train --optimal optimum.yaml --output model",
        "report",
        "status",
    ],
)
def test_a_second_study_of_a_name_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    command: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    first = write_tuning_study(tmp_path)
    pool = FakePool()
    run_defaults(first, "toy", "lora", pool_factory=lambda: pool)
    second = first.path.with_name("second.yaml")
    content = yaml.safe_load(first.path.read_text(encoding="utf-8"))
    second.write_text(yaml.safe_dump({**content, "seed": 7}), encoding="utf-8")
    capfd.readouterr()
    name, *rest = command.split()
    monkeypatch.setattr("sys.argv", ["phasewise", name, "--study", str(second), *rest])
    with pytest.raises(SystemExit) as ended:
        main()
    text = capfd.readouterr().err
    assert ended.value.code == EXIT_INPUT
    assert text.startswith(f"error: {second}: name: '{first.settings.name}' is the name of ")
    assert text.endswith("give this study another name\n")
    assert text.count("\n") == 1
