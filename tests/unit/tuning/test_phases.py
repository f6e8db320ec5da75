"""Phase 0 and Phase 2: seeds, summaries, what is run again."""

import os
from collections.abc import Callable
from dataclasses import replace

import pytest

from fake_pool import FakePool, surface
from phasewise.errors import ConfigError, PhasewiseError
from phasewise.records import read_record
from phasewise.runs import RunConfig
from phasewise.settings import Study
from phasewise.summaries import (
    Optimum,
    PhaseSummary,
    read_optimum,
    read_phase_summary,
    write_optimum,
)
from phasewise.tuning.phases import run_defaults, validate_unit
from phasewise.tuning.units import Unit
from synthetic import write_baselines

MakeStudy = Callable[..., Study]
RunSearch = Callable[..., Optimum]


def defaults(study: Study, pool: FakePool | None = None) -> PhaseSummary:
    return run_defaults(study, "toy", "lora", pool_factory=lambda: pool or FakePool())


def test_defaults_are_summarized(tuning_study: MakeStudy) -> None:
    study = tuning_study()
    unit = Unit(study, "toy", "lora")
    summary = defaults(study)
    scores = []
    for index in range(3):
        record = read_record(unit.paths.run("phase0", f"default-{index}"))
        assert record is not None
        assert record.config.opens_report_set
        assert not record.config.keeps_model
        assert record.config.hyperparameters == unit.default
        scores.append(surface(record.config))
    mean = sum(scores) / 3
    sd = (sum((score - mean) ** 2 for score in scores) / 2) ** 0.5
    assert summary.search.mean == pytest.approx(mean)
    assert summary.search.sd == pytest.approx(sd)
    assert summary.report.standard_error == pytest.approx(sd / 3**0.5)
    assert summary.runs == ("phase0/default-0", "phase0/default-1", "phase0/default-2")
    assert read_phase_summary(unit.paths.summary("phase0")) == summary
    assert summary.settings_hash == unit.phase_hash("phase0")


def test_recorded_seeds_are_not_run_again(tuning_study: MakeStudy) -> None:
    study = tuning_study()
    first = defaults(study)
    (Unit(study, "toy", "lora").paths.run("phase0", "default-1") / "record.json").unlink()
    pool = FakePool()
    assert defaults(study, pool) == first
    assert pool.started == ["default-1"]


def test_seeds_without_a_score_are_listed_with_their_reason(tuning_study: MakeStudy) -> None:
    study = tuning_study(retries=1)
    fates = {"default-0": "diverged", "default-2": "death"}
    pool = FakePool(fate=lambda config: fates.get(config.name, "finished"))
    summary = defaults(study, pool)
    assert summary.failed == (
        "default-0: diverged: it was diverged",
        "default-2: failed: worker died 2 times, last: worker killed by SIGKILL",
    )
    assert len(summary.search.scores) == 1
    assert summary.search.sd is None
    again = FakePool()
    assert len(defaults(study, again).failed) == 1
    assert again.started == ["default-2"]  # a dead worker says nothing of the settings
    folder = Unit(study, "toy", "lora").paths.run("phase0", "default-2")
    assert len(list(folder.glob("record.failed-*.json"))) == 1


def test_all_seeds_failing_is_an_error_with_the_first_reason(tuning_study: MakeStudy) -> None:
    study = tuning_study()
    path = Unit(study, "toy", "lora").paths.summary("phase0")
    path.unlink()
    message = "toy/lora phase0: all 3 seeds failed; default-0: infeasible: it was infeasible"
    with pytest.raises(PhasewiseError, match=message):
        defaults(study, FakePool(fate=lambda _: "infeasible"))
    assert not path.exists()


def test_validation_runs_the_optimum_on_seeds_of_its_own(
    tuning_study: MakeStudy, run_search: RunSearch
) -> None:
    study = tuning_study(trials=4)
    optimum = run_search(study)
    configs: list[RunConfig] = []

    def fate(config: RunConfig) -> str:
        configs.append(config)
        return "finished"

    summary = validate_unit(study, "toy", "lora", pool_factory=lambda: FakePool(fate=fate))
    unit = Unit(study, "toy", "lora")
    records = {path.parent.name for path in unit.paths.root.rglob("phase1/*/record.json")}
    searched = [read_record(unit.paths.run("phase1", name)) for name in records]
    used = {record.config.seeds.init for record in searched if record is not None}
    assert [config.name for config in configs] == ["seed-00", "seed-01", "seed-02"]
    assert all(config.keeps_model and config.opens_report_set for config in configs)
    assert len({config.seeds for config in configs}) == 3
    assert not used & {config.seeds.init for config in configs}
    assert summary.hyperparameters == optimum.best_hyperparameters
    chosen = configs[0].hyperparameters.model_dump(mode="json")
    assert {key: chosen[key] for key in summary.hyperparameters} == summary.hyperparameters


@pytest.mark.parametrize(("floor", "learned"), [(0.1, True), (0.99, False)])
def test_the_optimum_says_whether_anything_was_learned(
    tuning_study: MakeStudy, run_search: RunSearch, floor: float, learned: bool
) -> None:
    """First by the search, then by Phase 2; neither a time nor a second search takes it back."""
    study = tuning_study(trials=4)
    write_baselines(study, "toy", majority=floor)
    by_search = run_search(study)
    assert by_search.learned is learned
    assert "best trial on the search set" in by_search.learned_why
    path = Unit(study, "toy", "lora").paths.optimum
    os.utime(path, (1e9, 1e9))
    validate_unit(study, "toy", "lora", pool_factory=FakePool)
    by_seeds = read_optimum(path)
    assert by_seeds is not None
    assert by_seeds.learned is learned
    assert "over 3 seeds" in by_seeds.learned_why
    assert ("Try more training rows (128, now 32)" in by_seeds.learned_why) is not learned
    assert path.stat().st_mtime == 1e9
    assert run_search(study).learned_why == by_seeds.learned_why


def test_without_baselines_the_optimum_says_nothing_of_learning(
    tuning_study: MakeStudy, run_search: RunSearch
) -> None:
    optimum = run_search(tuning_study(trials=2))
    assert (optimum.learned, optimum.learned_why) == (None, "")


def test_validation_needs_a_final_optimum(tuning_study: MakeStudy, run_search: RunSearch) -> None:
    study = tuning_study(trials=4)
    command = r"phasewise search --study .* --task toy --method lora"
    with pytest.raises(ConfigError, match=f"missing; make it with: {command}"):
        validate_unit(study, "toy", "lora", pool_factory=FakePool)
    optimum = run_search(study).model_copy(update={"final": False})
    write_optimum(Unit(study, "toy", "lora").paths.optimum, optimum)
    with pytest.raises(ConfigError, match="not final"):
        validate_unit(study, "toy", "lora", pool_factory=FakePool)


def test_engine_asked_for_by_name_is_refused_before_anything_trains(
    tuning_study: MakeStudy,
) -> None:
    study = tuning_study()
    study.methods["lora"] = study.methods["lora"].model_copy(  # type: ignore[index]
        update={"kind": "full"}
    )
    training = study.settings.training.model_copy(update={"engine": "packed"})
    settings = study.settings.model_copy(update={"training": training})
    pool = FakePool()
    with pytest.raises(ConfigError, match="toy/lora cannot be packed: every weight trains"):
        defaults(replace(study, settings=settings), pool)
    assert pool.started == []
