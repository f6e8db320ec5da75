"""Lines about two machines that share a unit through PostgreSQL."""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest

from faults import network
from faults.checker import Verdict, read_database, read_finished
from faults.lines import Bench, Row, SkippedError
from faults.world import METHOD, MOST_SECONDS, TRIALS, Try
from postgres import Postgres, run_postgres

#: Trials that take seconds, so that an outage meets some under way.
_LONG = {METHOD: {"defaults": {"epochs": 60}}}
_TABLES = ("phasewise_runs", "studies CASCADE")


class Pair(NamedTuple):
    """Two machines with the same study, and the database that they share."""

    server: Postgres
    machines: tuple[Try, Try]
    names: tuple[str, ...]  # of their networks
    processes: "list[subprocess.Popen[bytes]]"

    @property
    def lives(self) -> bool:
        """Whether both are at work."""
        return all(process.poll() is None for process in self.processes)


Inflict = Callable[[Bench, Pair], None]


def on_pairs(bench: Bench, inflict: Inflict, *, cuts: bool = False) -> Row:
    """Inflicts faults on pairs of machines until it was tried often enough.

    Args:
        bench: What it is tried with.
        inflict: The fault.
        cuts: Whether the machines have a network that can be cut.
    """
    verdict, left, done = Verdict(), 0, 0
    with _database(cuts) as (server, names):
        while done < bench.tries:
            pair = _make_pair(bench, server, names)
            while done < bench.tries and pair.lives:
                time.sleep(bench.random.uniform(0, bench.seconds / 2))
                if not pair.lives or not _has_begun(server):
                    continue
                before = [read_finished(study.unit) for study in pair.machines]
                inflict(bench, pair)
                done += 1
                for study, finished in zip(pair.machines, before, strict=True):
                    verdict += study.check_since(finished)
            verdict += _end(pair)
            left += sum(study.count_left(None) for study in pair.machines)
    return Row(done, verdict, left)


@contextmanager
def _database(cuts: bool) -> Iterator[tuple[Postgres, tuple[str, ...]]]:
    if cuts and not network.is_possible():
        raise SkippedError("network namespaces need root and Debian's iproute2")
    try:
        if not cuts:
            with run_postgres() as server:
                yield server, ()
            return
        with (
            network.make_network() as (database, names),
            run_postgres(network.HOST, network.within(database)) as server,
        ):
            yield server, names
    except pytest.skip.Exception as error:
        raise SkippedError(str(error)) from None


def _make_pair(bench: Bench, server: Postgres, names: tuple[str, ...]) -> Pair:
    for table in _TABLES:
        server.sql(f"DO $$ BEGIN TRUNCATE {table}; EXCEPTION WHEN undefined_table THEN END $$")
    pair = Pair(server, (_join(bench, server), _join(bench, server)), names, [])
    for place, study in enumerate(pair.machines):
        study.prefix = network.within(names[place]) if names else ()
        pair.processes.append(_start(study))
    return pair


def _join(bench: Bench, server: Postgres) -> Try:
    study = bench.world.study(storage=server.url, methods=_LONG)
    study.environment = {"PGPASSWORD": server.password}
    return study


def _start(study: Try) -> "subprocess.Popen[bytes]":
    return study.start(alone=True)  # a password is in its environment


def _has_begun(server: Postgres) -> bool:
    if server.sql("SELECT to_regclass('phasewise_runs')") == [[""]]:
        return False
    return server.sql("SELECT count(DISTINCT owner) FROM phasewise_runs") == [["2"]]


def _end(pair: Pair) -> Verdict:
    """Lets both come to their ends, those that were killed by a second call."""
    verdict, broken = Verdict(), []
    for place, study in enumerate(pair.machines):
        if study.wait(pair.processes[place], 2 * MOST_SECONDS) != 0:
            code = study.wait(_start(study), 2 * MOST_SECONDS)
            broken += [f"exit code {code}; see {study.output}"] * bool(code)
    ends = read_database(pair.server.sql, TRIALS)
    for study in pair.machines:
        verdict += study.check_end(ends)
    one, other = (read_finished(study.unit) for study in pair.machines)
    if one != other:
        broken.append(f"records differ: {sorted(set(one.items()) ^ set(other.items()))}")
    return verdict + Verdict(broken=tuple(broken))


def restart_server(bench: Bench, pair: Pair) -> None:
    """Stops the database, cleanly or as a crash does, and starts it again."""
    pair.server.stop(bench.random.choice(["fast", "immediate"]))
    time.sleep(bench.random.uniform(0, 5))
    pair.server.start()


def kill_one(bench: Bench, pair: Pair) -> None:
    """Kills a controller and starts it again."""
    place = bench.random.randrange(2)
    pair.processes[place].kill()
    pair.processes[place].wait()
    pair.processes[place] = _start(pair.machines[place])


def cut(seconds: float) -> Inflict:
    """Cuts one machine off from the database for so long."""

    def inflict(bench: Bench, pair: Pair) -> None:
        name = bench.random.choice(pair.names)
        network.set_link(name, "down")
        time.sleep(seconds)
        network.set_link(name, "up")

    return inflict


def lines() -> dict[str, Callable[[Bench], Row]]:
    """Returns the lines by their names."""
    found: dict[str, Any] = {
        "PostgreSQL: restarted": lambda bench: on_pairs(bench, restart_server),
        "PostgreSQL: one of two controllers killed": lambda bench: on_pairs(bench, kill_one),
    }
    for seconds in (5, 30, 120):
        found[f"PostgreSQL: link cut for {seconds} s"] = lambda bench, seconds=seconds: on_pairs(
            bench, cut(seconds), cuts=True
        )
    return found
