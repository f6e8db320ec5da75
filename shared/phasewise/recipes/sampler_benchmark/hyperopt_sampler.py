"""HyperOpt's TPE (Bergstra et al., ICML 2013), an optional extra.

Its estimators are per parameter, each from the trials that had the parameter, which is how
conditions are meant there; a pruned or running trial counts among the bad ones.
"""

import importlib
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from optuna.samplers import BaseSampler

from phasewise.errors import ConfigError
from phasewise.recipes.sampler_benchmark.guest_sampler import (
    Axis,
    Coordinates,
    GuestSampler,
    Observation,
    SuggestRequest,
)

#: HyperOpt's own default, 20, is more than most searches here have; this is Optuna's.
HYPEROPT_STARTUP = 10


def build_hyperopt(seed: int) -> BaseSampler:
    """Returns the sampler for one draw.

    Raises:
        ConfigError: HyperOpt is not installed.
    """
    require_hyperopt()
    return GuestSampler(propose, startup=HYPEROPT_STARTUP, seed=seed)


def require_hyperopt() -> None:
    """Checks that HyperOpt is installed, without importing it.

    Raises:
        ConfigError: It is not; the extra that brings it is named.
    """
    if find_spec("hyperopt") is None:
        raise ConfigError(
            "sampler hyperopt needs the package hyperopt, which is missing: "
            "pip install 'phasewise[hyperopt]'"
        )


def propose(request: SuggestRequest) -> Iterator[Coordinates]:
    """Yields draws of HyperOpt's ``tpe.suggest``, each with a seed of its own."""
    hyperopt = importlib.import_module("hyperopt")
    domain = hyperopt.base.Domain(
        lambda _: 0.0, {name: _describe(name, axis) for name, axis in request.axes.items()}
    )
    trials = _tell(hyperopt, request)
    new = 1 + max((each.number for each in request.ended), default=0) + len(request.running)
    seed = request.seed
    while True:
        # Told trials alone decide about the start, see GuestSampler.
        drawn = hyperopt.tpe.suggest(
            [new], domain, trials, seed % 2**32, n_startup_jobs=0, verbose=False
        )
        values = drawn[0]["misc"]["vals"]
        yield {name: float(found[0]) for name, found in values.items() if found}
        seed += 1


def _describe(name: str, axis: Axis) -> Any:
    hp = importlib.import_module("hyperopt").hp
    if axis.kind == "continuous":
        return hp.uniform(name, 0.0, 1.0)
    if axis.kind == "ordered":
        return hp.uniformint(name, 0, axis.size - 1)
    return hp.choice(name, list(range(axis.size)))


def _tell(hyperopt: Any, request: SuggestRequest) -> Any:
    """Returns HyperOpt's record of the trials; without a loss one sorts behind all others."""
    after = 1 + max((each.number for each in request.ended), default=0)
    running = (Observation(after + i, at, None) for i, at in enumerate(request.running))
    documents = [_document(hyperopt, request, each) for each in (*request.ended, *running)]
    trials = hyperopt.Trials()
    if documents:
        trials.insert_trial_docs(documents)
        trials.refresh()
    return trials


def _document(hyperopt: Any, request: SuggestRequest, observed: Observation) -> dict[str, Any]:
    number = observed.number
    places: dict[str, list[float]] = {}
    for name, axis in request.axes.items():
        found = [observed.coordinates[name]] if name in observed.coordinates else []
        places[name] = [int(at) for at in found] if axis.kind == "choice" else found
    return {
        "tid": number,
        "spec": None,
        "result": {"status": hyperopt.STATUS_OK, "loss": observed.loss},
        "misc": {
            "tid": number,
            "cmd": None,
            "workdir": None,
            "idxs": {name: [number] * len(found) for name, found in places.items()},
            "vals": places,
        },
        "state": hyperopt.JOB_STATE_DONE,
        "exp_key": None,
        "owner": None,
        "version": 0,
        "book_time": None,
        "refresh_time": None,
    }
