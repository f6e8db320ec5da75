"""Phase 1 as a whole, on a surface whose best is known."""

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml

from fake_pool import FakePool, surface, write_phase0
from phasewise.checkpoints import write_checkpoint
from phasewise.errors import ConfigError, PhasewiseError
from phasewise.records import RunRecord, iterate_records, read_record, write_record
from phasewise.runs import RunConfig, RunSeeds, UnitPaths
from phasewise.settings import Study, load_study
from phasewise.summaries import Optimum, read_optimum
from phasewise.training.interface import RunJob
from phasewise.training.pool import PoolEvent
from phasewise.tuning.search import search_unit
from phasewise.tuning.stopping import StoppedError
from phasewise.tuning.storage import connect
from phasewise.tuning.units import Unit

MakeStudy = Callable[..., Study]
RunSearch = Callable[..., Optimum]


def test_writes_the_documented_keys_first_and_final(
    tuning_study: MakeStudy, run_search: RunSearch
) -> None:
    study = tuning_study(trials=8)
    returned = run_search(study)
    path = Unit(study, "toy", "lora").paths.optimum
    assert path.name == "toy_lora_optimal.yaml"
    keys = [line.split(":")[0] for line in path.read_text().splitlines() if line[0].isalpha()]
    assert keys[:4] == ["best_hyperparameters", "best_value", "n_trials", "study_name"]
    assert read_optimum(path) == returned
    assert returned.final
    assert (returned.n_trials, returned.study_name) == (8, "tuned_toy_lora")
    assert returned.trial_states == {"finished": 8}
    assert returned.model_based_trials == 4


def test_schedule_draws_default_then_sobol_then_model(
    tuning_study: MakeStudy, run_search: RunSearch
) -> None:
    study = tuning_study(trials=15)
    assert run_search(study).model_based_trials == 10
    log = (study.path.parent / "search.log").read_text()
    origins = [line.split("(")[1].split(")")[0] for line in log.splitlines() if " starts (" in line]
    assert origins == ["default"] + ["sobol"] * 4 + ["model"] * 10


def test_confirmation_uses_fresh_seeds_and_their_mean_alone(
    tuning_study: MakeStudy, run_search: RunSearch
) -> None:
    study = tuning_study(trials=5, confirm_top=2, confirm_seeds=3)
    optimum = run_search(study)
    unit = Unit(study, "toy", "lora")
    root = unit.paths.run("phase1", "x").parent
    records = [read_record(folder) for folder in sorted(root.glob("confirm-*"))]
    scores = [
        record.search_score
        for record in records
        if record is not None
        and record.config.name.startswith(f"confirm-{optimum.best_trial:03d}-")
        and record.search_score is not None
    ]
    assert len(records) == 6
    assert optimum.confirmed_value == pytest.approx(sum(scores) / 3)
    trial = read_record(root / "trial-000")
    assert trial is not None
    seeds = {r.config.seeds for r in records if r is not None}
    assert len(seeds) == 3
    assert trial.config.seeds not in seeds
    assert optimum.improvement == pytest.approx((optimum.confirmed_value or 0) - 0.70)
    assert not any(r.config.opens_report_set for r in records if r is not None)


def test_bad_trials_are_counted_and_the_search_goes_on(
    tuning_study: MakeStudy, run_search: RunSearch
) -> None:
    fates = {"trial-001": "diverged", "trial-002": "infeasible", "trial-004": "death"}
    pool = FakePool(fate=lambda config: fates.get(config.name, "finished"))
    study = tuning_study(trials=8, retries=2)
    optimum = run_search(study, pool=pool)
    assert optimum.trial_states == {"diverged": 1, "failed": 1, "finished": 5, "infeasible": 1}
    assert pool.started.count("trial-004") == 3
    record = read_record(Unit(study, "toy", "lora").paths.run("phase1", "trial-004"))
    assert record is not None
    assert record.message == "worker died 3 times, last: worker killed by SIGKILL"


def test_worker_that_dies_once_costs_a_retry_only(
    tuning_study: MakeStudy, run_search: RunSearch
) -> None:
    deaths = iter(["death"])

    def fate(config: RunConfig) -> str:
        return next(deaths, "finished") if config.name == "trial-002" else "finished"

    pool = FakePool(fate=fate)
    assert run_search(tuning_study(trials=4), pool=pool).trial_states == {"finished": 4}
    assert pool.started.count("trial-002") == 2


def test_pruned_trials_count_and_are_never_chosen(
    tuning_study: MakeStudy, run_search: RunSearch
) -> None:
    study = tuning_study(trials=20, pruner="median", sampler="random")
    optimum = run_search(study)
    assert sum(optimum.trial_states.values()) == 20
    assert optimum.trial_states["pruned"] >= 2
    record = read_record(
        Unit(study, "toy", "lora").paths.run("phase1", f"trial-{optimum.best_trial:03d}")
    )
    assert record is not None
    assert record.status == "finished"


def test_several_workers_share_one_study(tuning_study: MakeStudy, run_search: RunSearch) -> None:
    pool = FakePool(size=3)
    assert run_search(tuning_study(trials=9), pool=pool).trial_states == {"finished": 9}
    assert sorted(pool.started[:9]) == [f"trial-{k:03d}" for k in range(9)]
    assert pool.dismissed
    assert pool.closed


def test_small_grid_ends_early(tuning_study: MakeStudy, run_search: RunSearch) -> None:
    space = {
        "batch_size": {"type": "categorical", "values": [4, 8]},
        "epochs": {"type": "int", "min": 1, "max": 3},
    }
    study = tuning_study(trials=10, sampler="grid", space=space)
    assert run_search(study).n_trials == 6


def test_all_trials_failing_names_the_first_reason(
    tuning_study: MakeStudy, run_search: RunSearch
) -> None:
    message = r"none of 4 trials finished \(4 diverged\); trial 0: it was diverged"
    with pytest.raises(PhasewiseError, match=message):
        run_search(tuning_study(trials=4), fate=lambda _: "diverged")


def test_running_optimum_is_there_after_the_first_trial(
    tuning_study: MakeStudy, run_search: RunSearch
) -> None:
    study = tuning_study(trials=4)
    paths = Unit(study, "toy", "lora").paths
    seen = []

    def fate(config: RunConfig) -> str:
        optimum = read_optimum(paths.running_optimum)
        seen.append(None if optimum is None else (optimum.n_trials, optimum.final))
        assert not paths.optimum.exists()
        return "finished"

    run_search(study, fate=fate)
    assert seen[:4] == [None, (1, False), (2, False), (3, False)]


def test_missing_baseline_names_the_command(tuning_study: MakeStudy, run_search: RunSearch) -> None:
    study = tuning_study()
    Unit(study, "toy", "lora").paths.summary("phase0").unlink()
    with pytest.raises(ConfigError, match=r"phasewise defaults --study .* --task toy --method"):
        run_search(study)


def test_nothing_to_search_is_refused(tuning_study: MakeStudy, run_search: RunSearch) -> None:
    space = {"epochs": {"type": "fixed", "value": 2}}
    with pytest.raises(ConfigError, match="every hyperparameter is fixed"):
        run_search(tuning_study(space=space))


def test_time_budget_starts_no_further_trial(
    tuning_study: MakeStudy, run_search: RunSearch
) -> None:
    study = tuning_study(trials=50, time_budget_hours=0.3 / 3600)
    optimum = run_search(study, pause=0.02)
    assert 1 <= optimum.n_trials < 50
    pool = FakePool()
    run_search(study, pool=pool)
    assert pool.started == []  # the time of the first session counts


def test_the_documented_ranges_are_searched(tuning_study: MakeStudy) -> None:
    study = tuning_study(trials=10)
    content = yaml.safe_load(study.path.read_text()) | {
        "search": {"space": "documented", "trials": 10, "pruner": "none"}
    }
    study.path.write_text(yaml.safe_dump(content))
    study = load_study(study.path)
    write_phase0(study)
    search_unit(study, "toy", "lora", pool_factory=FakePool)
    folder = UnitPaths(study, "toy", "lora").root / "phase1"
    drawn = [r.config.hyperparameters for _, r in iterate_records(folder) if r.config.index > 0]
    assert len({each.learning_rate for each in drawn}) > 8
    for each in drawn:
        assert 1e-6 <= each.learning_rate <= 1e-4
        assert each.batch_size in (1, 2, 4)
        assert 2 <= each.epochs <= 6
        assert each.lora_rank in (4, 8, 16, 32, 64)
        assert each.lora_alpha in (8, 16, 32, 64, 128)
        assert each.lora_dropout in (0.0, 0.05, 0.1)


def test_listener_may_fail_or_hang_without_costing_a_trial(tuning_study: MakeStudy) -> None:
    study = tuning_study(trials=4)
    heard: list[str] = []
    threads = set()

    class Listener:
        def begin(self, folder: Path) -> None:
            heard.append(f"{folder.name} begins")

        def end(self, record: RunRecord, folder: Path) -> None:
            threads.add(threading.current_thread().name)
            assert (folder / "record.json").is_file()
            heard.append(record.config.name)
            raise OSError("no network")

    optimum = search_unit(study, "toy", "lora", pool_factory=FakePool, listener=Listener())
    assert optimum.trial_states == {"finished": 4}
    trials = [f"trial-{k:03d}" for k in range(4)]
    assert heard[:8] == [text for name in trials for text in (f"{name} begins", name)]
    assert len(heard) == 2 * (4 + 6)
    assert threads == {"run-hook"}


def test_stop_between_events_closes_the_pool(
    tuning_study: MakeStudy,
) -> None:
    pool = FakePool()

    def fate(config: RunConfig) -> str:
        if config.name == "trial-002":
            os.kill(os.getpid(), signal.SIGTERM)
        return "finished"

    pool.fate = fate
    with pytest.raises(StoppedError, match="stopped by SIGTERM; run the same command to continue"):
        search_unit(tuning_study(), "toy", "lora", pool_factory=lambda: pool)
    assert pool.closed
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.parametrize(
    ("stops", "saves", "progress"),
    [("trial-000", False, False), ("trial-000", True, True), ("trial-002", False, True)],
)
def test_a_stop_says_whether_anything_was_won(
    tuning_study: MakeStudy, stops: str, saves: bool, progress: bool
) -> None:
    """A job that came no further is not put back in the queue."""
    study = tuning_study()
    folder = Unit(study, "toy", "lora").paths.run("phase1", stops)
    write_checkpoint(folder, 3, "owner", {}, lambda new: None)  # of an earlier call

    class SavingPool(FakePool):
        def close(self) -> None:
            if saves:  # as a worker does that is asked to end
                write_checkpoint(folder, 5, "owner", {}, lambda new: None)

    def fate(config: RunConfig) -> str:
        if config.name == stops:
            os.kill(os.getpid(), signal.SIGTERM)
        return "finished"

    with pytest.raises(StoppedError) as stopped:
        search_unit(study, "toy", "lora", pool_factory=lambda: SavingPool(fate=fate))
    assert stopped.value.made_progress is progress
    storage = connect(Unit(study, "toy", "lora").paths.storage)
    stored = optuna.load_study(study_name="tuned_toy_lora", storage=storage)
    assert stored.user_attrs["search_seconds"] > 0  # its time is part of the search's


def test_minimized_loss_takes_the_lowest(tuning_study: MakeStudy) -> None:
    study = tuning_study(trials=6)
    task = study.tasks["toy"].model_copy(update={"metric": "eval_loss"})
    study.tasks["toy"] = task  # type: ignore[index]

    class LossPool(FakePool):
        def _train(self, job: Any) -> Any:
            for event in super()._train(job):
                if event.record is None:
                    yield event
                    continue
                metrics = {"eval_loss": 1 - surface(job.config)}
                record = event.record.model_copy(update={"search_metrics": metrics})
                write_record(job.folder, record)
                yield event._replace(record=record)

    optimum = search_unit(study, "toy", "lora", pool_factory=LossPool)
    root = Unit(study, "toy", "lora").paths.run("phase1", "x").parent
    losses = [read_record(f).search_score for f in root.glob("trial-*")]  # type: ignore[union-attr]
    assert optimum.direction == "minimize"
    assert optimum.best_value <= sorted(loss for loss in losses if loss is not None)[2]
    assert optimum.improvement == pytest.approx(0.70 - (optimum.confirmed_value or 0))


def test_trial_seeds_are_all_the_same(tuning_study: MakeStudy, run_search: RunSearch) -> None:
    study = tuning_study(trials=4)
    run_search(study)
    root = Unit(study, "toy", "lora").paths.run("phase1", "x").parent
    seeds: set[RunSeeds] = set()
    for folder in root.glob("trial-*"):
        record = read_record(folder)
        assert record is not None
        seeds.add(record.config.seeds)
    assert len(seeds) == 1


def test_second_controller_waits_and_says_for_whom(
    tuning_study: MakeStudy, capsys: pytest.CaptureFixture[str]
) -> None:
    study = tuning_study(trials=4)
    first = FakePool(pause=0.03)
    # Only the second may use the main thread's signals; the first runs beside it.
    thread = threading.Thread(
        target=lambda: search_unit(study, "toy", "lora", pool_factory=lambda: first)
    )
    thread.start()
    while not first.started:
        time.sleep(0.005)
    second = FakePool()
    optimum = search_unit(study, "toy", "lora", pool_factory=lambda: second)
    thread.join()
    assert second.started == []
    assert optimum.trial_states == {"finished": 4}
    assert "waiting: pid" in capsys.readouterr().err


class _WatchedPool(FakePool):
    """Notes which trials are under way whenever one starts."""

    def __init__(self, **fake: Any) -> None:
        super().__init__(**fake)
        self.beside: dict[str, list[str]] = {}

    def submit(self, job: RunJob, *, alone: bool = False) -> None:
        self.beside[job.config.name] = list(self._running)
        super().submit(job, alone=alone)


@pytest.mark.parametrize(("parallel", "limit"), [("auto", 4), (1, 1), (3, 3)])
def test_draws_from_a_model_wait_until_few_trials_are_under_way(
    tuning_study: MakeStudy, run_search: RunSearch, parallel: str | int, limit: int
) -> None:
    """20 trials: trials 0-5 depend on no result and may all train together."""
    pool = _WatchedPool(size=8)
    study = tuning_study(trials=20, parallel_trials=parallel)
    assert run_search(study, pool=pool).trial_states == {"finished": 20}
    assert [len(pool.beside[f"trial-{k:03d}"]) for k in range(6)] == [0, 1, 2, 3, 4, 5]
    sides = [len(pool.beside[f"trial-{k:03d}"]) for k in range(6, 20)]
    assert max(sides) == limit - 1


def test_random_draws_fill_every_slot(tuning_study: MakeStudy, run_search: RunSearch) -> None:
    pool = _WatchedPool(size=8)
    run_search(tuning_study(trials=12, sampler="random"), pool=pool)
    assert all(len(pool.beside[f"trial-{k:03d}"]) == min(k, 7) for k in range(8))
    assert len(pool.beside["trial-011"]) >= 4


def test_a_model_without_results_waits_for_them(
    tuning_study: MakeStudy, run_search: RunSearch
) -> None:
    """TPE models from the tenth told trial on: the eleventh must see ten results."""
    pool = _WatchedPool(size=8)
    optimum = run_search(tuning_study(trials=12, sampler="tpe", parallel_trials=8), pool=pool)
    assert pool.beside["trial-010"] == []
    assert optimum.model_based_trials == 2


def test_a_deadly_trial_uses_up_its_own_attempts_only(
    tuning_study: MakeStudy, run_search: RunSearch
) -> None:
    """Its worker's death costs all who trained there one attempt; the last one is made alone."""

    class SharedWorkerPool(FakePool):
        def submit(self, job: RunJob, *, alone: bool = False) -> None:
            if alone and self._running:
                self._alone.append(job)
                return
            super().submit(job)

        def wait(self, timeout: float | None = None) -> list[PoolEvent]:
            if "trial-002" in self._running:
                jobs = self._jobs(list(self._running))
                self._running.clear()
                return [PoolEvent(job, death="worker killed by SIGKILL") for job in jobs]
            events = super().wait(timeout)
            while self._alone and not self._running:
                super().submit(self._alone.pop(0))
            return events

        def _jobs(self, names: list[str]) -> list[RunJob]:
            return [self.jobs[name] for name in names]

        def _train(self, job: RunJob) -> Any:
            self.jobs[job.config.name] = job
            return super()._train(job)

        _alone: list[RunJob] = []  # noqa: RUF012 - one pool in this test
        jobs: dict[str, RunJob] = {}  # noqa: RUF012

    optimum = run_search(tuning_study(trials=4, retries=2), pool=SharedWorkerPool(size=4))
    assert optimum.trial_states == {"failed": 1, "finished": 3}


def test_killed_with_several_trials_under_way_ends_with_the_same_number(
    tuning_study: MakeStudy, run_search: RunSearch
) -> None:
    class KilledError(BaseException):
        pass

    def fate(config: RunConfig) -> str:
        if config.name == "trial-005":
            raise KilledError
        return "finished"

    study = tuning_study(trials=12)
    with pytest.raises(KilledError):
        run_search(study, pool=FakePool(size=4, fate=fate))
    again = FakePool(size=4)
    optimum = run_search(study, pool=again)
    assert optimum.trial_states == {"finished": 12}
    started = [name for name in again.started if name.startswith("trial")]
    assert len(started) == len(set(started))
    root = Unit(study, "toy", "lora").paths.run("phase1", "x").parent
    assert len({read_record(f).hash for f in root.glob("trial-*")}) == 12  # type: ignore[union-attr]
