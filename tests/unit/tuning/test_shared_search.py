"""Several controllers on one unit, each with its own folder, through a real PostgreSQL server."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import PendingRollbackError

from fake_pool import FakePool, write_phase0, write_tuning_study
from phasewise.errors import ConfigError
from phasewise.records import RECORD_FILE, RunRecord, read_record
from phasewise.runs import RunConfig
from phasewise.settings import Study, load_study
from phasewise.summaries import read_optimum
from phasewise.tuning import sharing
from phasewise.tuning.database import find_outage
from phasewise.tuning.search import search_unit
from phasewise.tuning.units import Unit
from postgres import Postgres, run_postgres

TRIALS = 8


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with run_postgres() as server:
        yield server


@pytest.fixture
def machine(
    tmp_path: Path, server: Postgres, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Study]:
    """Gives the study as one machine has it: own folders, the same database."""
    monkeypatch.setenv("PGPASSWORD", server.password)
    monkeypatch.setattr(sharing, "BEAT_SECONDS", 0.2)
    monkeypatch.setattr(sharing, "GRACE_SECONDS", 1.5)
    for table in ("phasewise_runs", "studies CASCADE"):
        server.sql(f"DO $$ BEGIN TRUNCATE {table}; EXCEPTION WHEN undefined_table THEN END $$")

    def make(name: str, **search: Any) -> Study:
        folder = tmp_path / name
        if not folder.exists():
            folder.mkdir()
            write_tuning_study(folder, trials=TRIALS, **search)
        path = folder / "study.yaml"
        content = {**yaml.safe_load(path.read_text()), "storage": server.url}
        path.write_text(yaml.safe_dump(content))
        study = load_study(path)
        write_phase0(study)
        return study

    return make


def _search(study: Study, pool: FakePool) -> None:
    search_unit(study, "toy", "lora", pool_factory=lambda: pool)


def _together(*work: Callable[[], None]) -> None:
    errors: list[BaseException] = []

    def call(one: Callable[[], None]) -> None:
        try:
            one()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=call, args=(one,)) for one in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive()
    assert not errors, errors


def _records(study: Study) -> dict[str, RunRecord]:
    folder = Unit(study, "toy", "lora").paths.root / "phase1"
    found = {path.parent.name: read_record(path.parent) for path in folder.glob(f"*/{RECORD_FILE}")}
    return {name: record for name, record in found.items() if record is not None}


def _check(server: Postgres, *studies: Study) -> None:
    """All machines have the same runs, each once; Optuna has exactly the budget."""
    first, *others = [_records(study) for study in studies]
    trials = {name: record for name, record in first.items() if name.startswith("trial")}
    assert sorted(trials) == [f"trial-{number:03d}" for number in range(TRIALS)]
    for other in others:
        assert {n: r.model_dump_json() for n, r in other.items()} == {
            n: r.model_dump_json() for n, r in first.items()
        }
    states = server.sql("SELECT number, state FROM trials ORDER BY number")
    assert states == [[str(number), "COMPLETE"] for number in range(TRIALS)]
    values = server.sql(
        "SELECT number, value FROM trials JOIN trial_values USING (trial_id) ORDER BY number"
    )
    assert [float(value) for _, value in values] == pytest.approx(
        [trials[f"trial-{int(number):03d}"].search_score for number, _ in values]
    )
    optima = [read_optimum(Unit(study, "toy", "lora").paths.optimum) for study in studies]
    shown = [optimum.model_dump(exclude={"provenance"}) for optimum in optima if optimum]
    assert len(shown) == len(studies)
    assert all(each == shown[0] for each in shown)
    assert shown[0]["n_trials"] == TRIALS


def test_three_controllers_end_exactly_the_budget(
    machine: Callable[..., Study], server: Postgres
) -> None:
    studies = [machine(name) for name in ("vm1", "vm2", "vm3")]
    pools = [FakePool(size=2, pause=0.02) for _ in studies]
    _together(*[lambda s=s, p=p: _search(s, p) for s, p in zip(studies, pools, strict=True)])  # type: ignore[misc]
    _check(server, *studies)
    started = Counter(name for pool in pools for name in pool.started)
    assert set(started.values()) == {1}  # confirmations too
    assert sum(bool(pool.started) for pool in pools) >= 2
    trials = [r.config for n, r in _records(studies[0]).items() if n.startswith("trial")]
    assert {config.origin for config in trials if config.index >= 4} == {"model"}
    assert len({config.hyperparameters.model_dump_json() for config in trials}) == TRIALS


def test_a_controller_that_joins_late_or_again_trains_nothing(
    machine: Callable[..., Study], server: Postgres
) -> None:
    first, second = machine("vm1"), machine("vm2")
    _search(first, FakePool(size=3))
    late, again = FakePool(), FakePool()
    _search(second, late)
    _search(first, again)
    assert late.started == again.started == []
    _check(server, first, second)


class KilledError(BaseException):
    pass


def test_the_runs_of_a_killed_controller_are_anothers_after_the_grace(
    machine: Callable[..., Study], server: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = machine("vm1"), machine("vm2")

    def die(config: RunConfig) -> str:
        if config.index == 5:
            raise KilledError
        return "finished"

    with monkeypatch.context() as patch:  # killed: nothing is given back
        patch.setattr(sharing.SharedRuns, "__exit__", lambda self, *_: self._ended.set())
        with pytest.raises(KilledError):
            _search(first, FakePool(size=2, fate=die))
    assert len(server.sql("SELECT 1 FROM phasewise_runs WHERE record IS NULL")) == 2
    pool = FakePool(size=2)
    _search(second, pool)
    _search(first, FakePool())
    _check(server, first, second)
    drawn = server.sql("SELECT run, token FROM phasewise_runs WHERE token > 1 ORDER BY run")
    assert drawn == [["phase1/trial-004", "2"], ["phase1/trial-005", "2"]]


def test_a_controller_goes_on_with_its_own_runs_at_once(
    machine: Callable[..., Study], server: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharing, "GRACE_SECONDS", 600.0)
    study = machine("vm1")

    def die(config: RunConfig) -> str:
        if config.index == 5:
            raise KilledError
        return "finished"

    with monkeypatch.context() as patch:
        patch.setattr(sharing.SharedRuns, "__exit__", lambda self, *_: self._ended.set())
        with pytest.raises(KilledError):
            _search(study, FakePool(size=2, fate=die))
    _search(study, FakePool())
    _check(server, study)


def test_a_controller_that_hung_gives_no_second_record(
    machine: Callable[..., Study], server: Postgres
) -> None:
    first, second = machine("vm1"), machine("vm2")
    hangs, goes_on = threading.Event(), threading.Event()

    class Hanging(FakePool):
        def wait(self, timeout: float | None = None) -> Any:
            if len(self.started) == 3 and not hangs.is_set():
                hangs.set()
                assert goes_on.wait(60)
            return super().wait(timeout)

    def first_search() -> None:
        _search(first, Hanging())

    def second_search() -> None:
        assert hangs.wait(60)
        # the hung one says nothing any more, though its thread would
        server.sql("UPDATE phasewise_runs SET beat = '-infinity', owner = 'dead' "
                   "WHERE record IS NULL")  # fmt: skip
        server.sql("UPDATE phasewise_runs SET token = token + 1 WHERE record IS NULL")
        _search(second, FakePool())
        goes_on.set()

    _together(first_search, second_search)
    _check(server, first, second)
    late = list((Unit(first, "toy", "lora").paths.root / "phase1").glob("*/record.late.json"))
    assert [path.parent.name for path in late] == ["trial-002"]


def test_a_failed_run_is_tried_by_another(machine: Callable[..., Study], server: Postgres) -> None:
    first, second = machine("vm1", retries=0), machine("vm2", retries=0)
    pool = FakePool(fate=lambda config: "death" if config.index == 2 else "finished")
    _search(first, pool)
    other = FakePool()
    _search(second, other)
    assert [name for name in other.started if name.startswith("trial")] == ["trial-002"]
    _search(first, FakePool())
    _check(server, first, second)


def test_the_server_restarts_in_mid_search(machine: Callable[..., Study], server: Postgres) -> None:
    first, second = machine("vm1"), machine("vm2")

    def restart() -> None:
        count = "SELECT count(DISTINCT owner) FROM phasewise_runs"
        while server.sql("SELECT to_regclass('phasewise_runs')") == [[""]]:
            threading.Event().wait(0.1)
        while server.sql(count) != [["2"]]:
            threading.Event().wait(0.1)
        for mode in ("fast", "immediate"):
            threading.Event().wait(0.5)
            server.stop(mode)
            threading.Event().wait(0.5)
            server.start()

    _together(
        lambda: _search(first, FakePool(pause=0.1)),
        lambda: _search(second, FakePool(pause=0.1)),
        restart,
    )
    _check(server, first, second)


def test_other_settings_are_another_search_and_none_at_the_same_time(
    machine: Callable[..., Study], server: Postgres
) -> None:
    first, second = machine("vm1"), machine("vm2", pruner="median")

    class Trying(FakePool):
        def wait(self, timeout: float | None = None) -> Any:
            if self.started == ["trial-000"]:
                with pytest.raises(ConfigError, match="searches this unit under other settings"):
                    _search(second, FakePool())
            return super().wait(timeout)

    _search(first, Trying())
    _search(second, pool := FakePool())
    assert "trial-000" in pool.started
    assert len(server.sql("SELECT 1 FROM studies")) == 2


def test_a_wrong_password_is_a_line_without_it(
    machine: Callable[..., Study], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    study = machine("vm1")
    monkeypatch.setenv("PGPASSWORD", "wr0ng-secret")
    with pytest.raises(ConfigError, match="password authentication failed") as caught:
        _search(study, FakePool())
    assert "wr0ng" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_passwords_are_found_where_libpq_looks_and_written_nowhere(
    machine: Callable[..., Study], server: Postgres, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    study = machine("vm1")
    monkeypatch.delenv("PGPASSWORD")
    passes = tmp_path / "elsewhere" / "pgpass"
    passes.parent.mkdir()
    passes.write_text(f"*:*:*:*:{server.password}\n")
    passes.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(passes))
    search_unit(study, "toy", "lora", pool_factory=FakePool, log=tmp_path / "the.log")
    passes.unlink()
    services = tmp_path / "elsewhere" / "services"
    services.write_text(
        f"[mine]\nhost={server.host}\nport={server.port}\nuser={server.user}\n"
        f"dbname={server.user}\npassword={server.password}\n"
    )
    monkeypatch.setenv("PGSERVICEFILE", str(services))
    content = yaml.safe_load(study.path.read_text())
    study.path.write_text(yaml.safe_dump({**content, "storage": "postgresql:///?service=mine"}))
    search_unit(load_study(study.path), "toy", "lora", pool_factory=FakePool)
    services.unlink()
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or server.password.encode() not in path.read_bytes(), path
    assert not server.sql(f"SELECT 1 FROM phasewise_runs WHERE record LIKE '%{server.password}%'")


def test_a_connection_lost_within_a_transaction_is_an_outage() -> None:
    lost = StorageInternalError("An exception is raised during the commit.")
    lost.__cause__ = PendingRollbackError(
        "Can't reconnect until invalid transaction is rolled back"
    )
    assert find_outage(lost) is not None
    assert find_outage(StorageInternalError("too long")) is None
