"""Ray Tune, one process per trial, one CPU each, one per core at once: ``… DIR [--asha]``.

Inside a trial runs the loop of ``plain_loop``, lighter than the Trainer. Ray gives each trial one
thread.
"""

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import ray
import torch
from benchmarks.bench.trials import TrialList, read_trials, write_scores
from ray import tune
from ray.tune.schedulers import ASHAScheduler

NUMBER, SCORE, TIME = "number", "score", "training_iteration"
#: As ``search.pruning_factor``.
REDUCTION = 3


def train_one(config: dict[str, Any], spec: TrialList) -> None:
    """Trains one trial in its own process."""
    from benchmarks.bench.peers.plain_loop import Rows, train_trial

    trial = spec.trials[config[NUMBER]]
    train_trial(spec, trial, Rows(spec), lambda score: tune.report({SCORE: score}))


def main() -> None:
    """Searches over the trials of a folder."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--asha", action="store_true")
    options = parser.parse_args()
    spec = read_trials(options.folder)
    cores = os.cpu_count() or 1
    ray.init(
        num_cpus=cores,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}},
    )
    mode = "max" if spec.metric == "accuracy" else "min"
    asha = ASHAScheduler(
        time_attr=TIME, max_t=spec.evaluations, grace_period=1, reduction_factor=REDUCTION
    )
    with tempfile.TemporaryDirectory() as results:
        gpus = torch.cuda.device_count()
        share = {"cpu": 1, "gpu": gpus / cores}
        tuner = tune.Tuner(
            tune.with_resources(tune.with_parameters(train_one, spec=spec), share),
            param_space={NUMBER: tune.grid_search(list(range(len(spec.trials))))},
            tune_config=tune.TuneConfig(
                metric=SCORE, mode=mode, scheduler=asha if options.asha else None
            ),
            run_config=tune.RunConfig(storage_path=results, verbose=0),
        )
        scores: list[float | None] = [None] * len(spec.trials)
        for result in tuner.fit():
            if result.error is not None:
                raise result.error
            if result.metrics[TIME] == spec.evaluations:
                scores[result.config[NUMBER]] = result.metrics[SCORE]
    write_scores(options.folder, scores)


if __name__ == "__main__":
    main()
