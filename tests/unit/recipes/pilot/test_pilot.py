from collections.abc import Callable
from pathlib import Path

import pytest

import fake_pool
from fake_pool import FakePool, write_tuning_study
from phasewise.errors import PhasewiseError
from phasewise.recipes.pilot.measure import run_pilot
from phasewise.records import Evaluation, RunCost, RunRecord
from phasewise.runs import RunConfig
from phasewise.settings import Study

ROWS = 120


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """40 rows train, 20 are scored; a run takes 1 s, 10 ms per trained and 1 ms per scored row."""
    plain: Callable[..., RunRecord] = fake_pool.build_record

    def build(config: RunConfig, *arguments: object) -> RunRecord:
        task, chosen = config.unit_config.task, config.hyperparameters
        train, scored = task.train_rows or 0, task.search_rows or 0
        seconds = 1 + 0.01 * train * chosen.epochs + 0.001 * (scored * chosen.epochs + train)
        cost = RunCost(
            train_seconds=seconds,
            total_seconds=seconds,
            peak_memory_mb=10.0 * chosen.batch_size,
            train_tokens=64,
            trainable_parameters=100,
            total_parameters=1000,
            adapter_bytes=2_000_000,
            micro_batch_size=4,
        )
        once = Evaluation(step=1, epoch=1, train_loss=1.0, metrics={"accuracy": 0.5})
        seen = {"cost": cost, "search_rows": scored, "evaluations": (once,)}
        return plain(config, *arguments).model_copy(update=seen)

    monkeypatch.setattr(fake_pool, "build_record", build)
    study = write_tuning_study(tmp_path, trials=4, confirm_top=1)
    task = study.tasks["toy"]
    rows = "\n".join(f'{{"text": "text {i}", "label": {i % 2}}}' for i in range(ROWS))
    (tmp_path / "toy.jsonl").write_text(rows + "\n")
    sized = task.model_copy(update={"train_rows": 40, "search_rows": 20})
    return Study(study.path, study.settings, {"toy": sized}, study.methods, study.space)


def test_short_runs_tell_what_all_runs_take(study: Study) -> None:
    found = run_pilot(study, "toy", "lora", pool_factory=FakePool)
    assert found.runs == 3 + 4 + 2 + 3  # defaults, trials, confirmations, seeds
    low, high = found.seconds.interval
    assert low == pytest.approx(found.seconds.total, rel=1e-6)  # no scatter, so no doubt
    assert high == pytest.approx(found.seconds.total, rel=1e-6)
    # Default: 3 epochs. Trials draw 1 to 4, so only their bounds are known by hand.
    default = 1 + 0.01 * 40 * 3 + 0.001 * (3 * 20 + 40 + 2)
    least, most = (1 + 0.01 * 40 * e + 0.001 * (e * 20 + 40) for e in (1, 4))
    assert 3 * default + 9 * least < found.seconds.total < 3 * default + 9 * (most + 0.002)
    # The largest batch of the space; a whole run may need a fifth more.
    assert found.peak_memory_mb == (160.0, pytest.approx(192.0))
    assert found.disk_mb > 3 * 2.0  # the adapters of Phase 2
    assert not (study.settings.experiments_path / "toy" / "lora" / "pilot").exists()


def test_runs_that_the_command_does_not_make_are_not_counted(study: Study) -> None:
    found = run_pilot(study, "toy", "lora", validates=False, pool_factory=FakePool)
    assert found.runs == 3 + 4 + 2
    assert found.disk_mb < 2.0  # no adapter is kept


@pytest.mark.parametrize(("rows", "largest"), [(24, 24), (200, 48)])
def test_a_pilot_is_no_larger_than_its_study(
    study: Study, tmp_path: Path, rows: int, largest: int
) -> None:
    sized = study.tasks["toy"].model_copy(update={"train_rows": rows, "search_rows": 20})
    lines = [f'{{"text": "text {i}", "label": {i % 2}}}' for i in range(2 * rows + 30)]
    (tmp_path / "toy.jsonl").write_text("\n".join(lines) + "\n")
    small = Study(study.path, study.settings, {"toy": sized}, study.methods, study.space)
    seen: list[tuple[int | None, int | None]] = []

    def note(config: RunConfig) -> str:
        task = config.unit_config.task
        seen.append((task.train_rows, task.search_rows))
        return "finished"

    run_pilot(small, "toy", "lora", pool_factory=lambda **given: FakePool(fate=note, **given))
    assert max(train or 0 for train, _ in seen) == largest
    assert max(search or 0 for _, search in seen) == 20


def test_a_pilot_that_fails_says_why(study: Study) -> None:
    def factory() -> FakePool:
        return FakePool(fate=lambda _: "infeasible")

    with pytest.raises(
        PhasewiseError, match="pilot-warm-up: the run did not finish: it was infeasible"
    ):
        run_pilot(study, "toy", "lora", pool_factory=factory)
