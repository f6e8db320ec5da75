"""One step of a unit, as `check --step` tries it: measured, and nothing stays behind."""

from collections.abc import Callable
from pathlib import Path

import pytest

from fake_pool import FakePool, write_tuning_study
from phasewise.cli.checking import check
from phasewise.errors import ConfigError, PhasewiseError
from phasewise.settings import Study
from phasewise.training.trainer_engine import TrainerEngine
from phasewise.tuning.short_runs import short_job, try_step
from phasewise.tuning.units import Unit
from tiny_models import write_tiny_bert


@pytest.fixture
def tiny_study(write_study: Callable[..., Study], tmp_path: Path) -> Callable[..., Study]:
    model = {"source": str(write_tiny_bert(tmp_path / "model")), "dtype": "float32"}
    return lambda **changes: write_study(model=model, **changes)


def test_each_unit_trains_one_step_and_tells_its_time_and_memory(
    tiny_study: Callable[..., Study], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check(tiny_study().path, step=True)
    lines = capsys.readouterr().out.splitlines()
    for method in ("full_finetune", "lora"):
        line = next(each for each in lines if each.startswith(f"rotten_tomatoes/{method}: one"))
        assert line.split()[-1] == "MB"
    assert not list(tmp_path.rglob("record.json"))
    assert not list(tmp_path.rglob("report_set_ledger.jsonl"))


def test_one_batch_is_one_step(tiny_study: Callable[..., Study], tmp_path: Path) -> None:
    unit = Unit(tiny_study(), "rotten_tomatoes", "lora")
    sizes = (unit.default.batch_size, 16)
    job = short_job(unit, unit.config, tmp_path, "step", sizes, unit.default, 0)
    record = TrainerEngine(unit.study.settings.machine).train_run(job, lambda _: "continue")
    assert [each.step for each in record.evaluations] == [1]
    assert (record.status, record.search_rows, record.report_rows) == ("finished", 16, 0)


def test_every_unit_that_cannot_train_is_told_in_a_line(
    tiny_study: Callable[..., Study],
) -> None:
    methods = {"ia3": {}, "lora": {}, "vera": {}}
    study = tiny_study(methods=methods, training={"engine": "packed"})
    with pytest.raises(ConfigError) as raised:
        check(study.path, step=True)
    for method, line in zip(("ia3", "vera"), str(raised.value).splitlines(), strict=True):
        assert f"rotten_tomatoes/{method} cannot be packed" in line


def test_a_step_that_fails_says_why(tmp_path: Path) -> None:
    study = write_tuning_study(tmp_path)
    with pytest.raises(PhasewiseError, match="toy/lora step: the run did not finish: it was inf"):
        try_step(study, "toy", "lora", pool_factory=lambda: FakePool(fate=lambda _: "infeasible"))
