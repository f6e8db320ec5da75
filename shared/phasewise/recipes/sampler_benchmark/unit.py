"""The benchmark of samplers on one unit: its space, its measured trials, or trainings of its own.

Searches that have ended are kept beside the unit's records, so a call that was cut off goes on
from phasewise.unit_runs import read_runs
from the next one; with ``live`` the trainings of the one cut off are on record too.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

from phasewise.recipes.sampler_benchmark.searches import BenchmarkSearch, Score, run_search
from phasewise.recipes.sampler_benchmark.section import benchmark_settings
from phasewise.recipes.sampler_benchmark.surrogate import Fit, Surrogate
from phasewise.records import RunRecord, write_json
from phasewise.runs import RunConfig, build_seeds, hash_content
from phasewise.samplers import require_sampler
from phasewise.seeding import derive_seed
from phasewise.settings import Hyperparameters, SamplerName, Study
from phasewise.training.interface import RunJob
from phasewise.tuning.dispatch import PoolFactory
from phasewise.tuning.progress import ProgressLog
from phasewise.tuning.run_records import find_record
from phasewise.tuning.units import Session, Unit, finite_score, open_session
from phasewise.unit_runs import read_runs

FOLDER = "sampler_benchmark"


class UnitBenchmark(NamedTuple):
    """All searches of one unit; values are larger-is-better, raw scores times ``sign``."""

    task: str
    method: str
    metric: str
    sign: float
    trials: int  # budget of each search
    fit: Fit | None  # of the stand-in; None: every trial was trained
    searches: tuple[BenchmarkSearch, ...]


def benchmark_unit(
    study: Study,
    task: str,
    method: str,
    *,
    pool_factory: PoolFactory | None = None,
    log: Path | None = None,
) -> UnitBenchmark:
    """Runs the searches that the study's ``sampler_benchmark`` asks for, or those still missing.

    Args:
        study: The study.
        task: Its task; Phase 1 must have ended unless ``live``.
        method: Its method.
        pool_factory: Makes the pool that trains; None: the real one. Live only.
        log: File that progress lines are appended to.

    Raises:
        DataError: Phase 1 has too few finished trials to stand in for training.
        ConfigError: A sampler's library is not installed.
    """
    unit = Unit(study, task, method)
    for name in benchmark_settings(study).samplers:
        require_sampler(name)
    if benchmark_settings(study).live:
        with open_session(
            unit,
            pool_factory=pool_factory,
            console=None,
            log=log,
            listener=None,
        ) as session:
            score = _train_live(unit, session)
            return _run(unit, score, None, "live", session.progress)
    surrogate, source = _fit_surrogate(unit)
    return _run(unit, surrogate.score, surrogate.fit, source, ProgressLog(unit.label, log))


def _run(
    unit: Unit, score: Score, fit: Fit | None, source: str, progress: ProgressLog
) -> UnitBenchmark:
    """``source``: what the scores depend on beside the unit."""
    asked, seed = benchmark_settings(unit.study), unit.study.settings.seed
    store = _Store(unit, source)
    searches = []
    for index in range(asked.seeds):
        for sampler in asked.samplers:
            found = store.get(sampler, index)
            if found is None:
                stream = derive_seed(seed, FOLDER, unit.task, unit.method, index)
                found = run_search(
                    unit.space,
                    score,
                    sampler=sampler,
                    trials=asked.trials,
                    seed=index,
                    stream=stream,
                )
                store.add(found)
            searches.append(found)
        progress.write(f"{index + 1} of {asked.seeds} searches of each sampler")
    return UnitBenchmark(
        task=unit.task,
        method=unit.method,
        metric=unit.metric,
        sign=unit.sign,
        trials=asked.trials,
        fit=fit,
        searches=tuple(searches),
    )


class _Store:
    """The searches that have ended; those of other settings are forgotten."""

    def __init__(self, unit: Unit, source: str) -> None:
        asked = benchmark_settings(unit.study)
        self._path = unit.paths.root / FOLDER / "searches.json"
        self._hash = hash_content([unit.search_hash(), asked.trials, source])
        self._known: dict[tuple[str, int], BenchmarkSearch] = {}
        if self._path.is_file():
            content: dict[str, Any] = json.loads(self._path.read_text(encoding="utf-8"))
            for each in content["searches"] if content["hash"] == self._hash else ():
                found = BenchmarkSearch(**{**each, "values": tuple(each["values"])})
                self._known[found.sampler, found.seed] = found

    def get(self, sampler: SamplerName, seed: int) -> BenchmarkSearch | None:
        return self._known.get((sampler, seed))

    def add(self, search: BenchmarkSearch) -> None:
        self._known[search.sampler, search.seed] = search
        searches = [each._asdict() for each in self._known.values()]
        write_json(self._path, {"hash": self._hash, "searches": searches})


def _fit_surrogate(unit: Unit) -> tuple[Surrogate, str]:
    """Returns the stand-in and the hash of what it was fitted to."""
    records = [
        record
        for record in read_runs(
            unit.study, unit.task, unit.method, phase="phase1", role="trial"
        ).records
        if record.status == "finished"
    ]
    measured = {
        record.hash: score for record in records if (score := _score(unit, record)) is not None
    }
    chosen = [r.config.hyperparameters for r in records if r.hash in measured]
    scores = [measured[r.hash] for r in records if r.hash in measured]
    seed = derive_seed(unit.study.settings.seed, FOLDER, "forest")
    return Surrogate(unit.space, chosen, scores, seed=seed), hash_content(measured)


def _score(unit: Unit, record: RunRecord) -> float | None:
    score = finite_score(record.search_score) if record.status == "finished" else None
    return None if score is None else unit.sign * score


def _train_live(unit: Unit, session: Session) -> Score:
    """Returns a score that trains; equal settings of one seed are trained once."""

    def score(chosen: Hyperparameters, seed: int) -> float | None:
        config = RunConfig(
            unit_config=unit.config,
            role="live",
            index=seed,
            variant=f"live-{seed:02d}-{hash_content(chosen.model_dump(mode='json'))}",
            hyperparameters=chosen,
            seeds=build_seeds(unit.study.settings.seed, "phase1", unit.task, seed),
        )
        job = RunJob(config, unit.paths.root / FOLDER / "runs" / config.name, unit.paths.ledger)
        record = find_record(job, session.progress.write) or _train(job, session)
        return _score(unit, record)

    return score


def _train(job: RunJob, session: Session) -> RunRecord:
    ended: list[RunRecord] = []
    session.dispatcher.run_all(
        [job],
        ended=lambda _, record: ended.append(record),
        evaluated=lambda _, evaluation: "continue",
    )
    return ended[0]
