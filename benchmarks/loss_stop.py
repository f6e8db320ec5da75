"""What ``search.stop_on_loss`` would have saved: ``python -m benchmarks.loss_stop STUDY ...``.

Replays the trials of searches that ran without it, in the order in which they ended, and prints for
each unit the share of training that it saves, and the best score with and without the trials that
it would have stopped. Searches with a pruner hold fewer whole trials to judge by.
"""

import argparse
from pathlib import Path

import optuna

from phasewise.recipes.trials import read_trials
from phasewise.records import RunRecord
from phasewise.settings import SearchSettings, load_study
from phasewise.tuning.pruners import TrialPruner


def replay(records: list[RunRecord], direction: str) -> tuple[float, list[int]]:
    """Returns the share of training that is saved, and the trials that are stopped.

    Args:
        records: Finished trials.
        direction: Of the study's objective.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction=direction, pruner=optuna.pruners.NopPruner())
    search = SearchSettings(pruner="none", stop_on_loss=True)
    metric = records[0].config.unit_config.task.metric
    pruner = TrialPruner(study, search, lambda metrics: metrics.get(metric), print)
    saved, stopped = 0.0, []
    for record in sorted(records, key=lambda record: record.ended):
        trial, epochs = study.ask(), record.config.hyperparameters.epochs
        for evaluation in record.evaluations:
            if pruner.decide(trial, evaluation, epochs) == "prune":
                saved += epochs - evaluation.epoch
                stopped.append(record.config.index)
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                break
        else:
            study.tell(trial, record.search_score)
    return saved / sum(r.config.hyperparameters.epochs for r in records), stopped


def main() -> None:
    """Prints a line per unit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("studies", nargs="+", type=Path)
    for path in parser.parse_args().studies:
        study = load_study(path)
        for task, method in study.units_of("all"):
            records = [r for r in read_trials(study, task, method) if r.status == "finished"]
            if not records:
                continue
            better = max if study.tasks[task].direction == "maximize" else min
            saved, stopped = replay(records, study.tasks[task].direction)
            whole = better(r.search_score for r in records)
            kept = [r.search_score for r in records if r.config.index not in stopped]
            print(
                f"{study.name} {task}/{method}: {len(records)} trials, {len(stopped)} stopped, "
                f"{saved:.0%} of training saved; best {whole:.3f}, of those kept {better(kept):.3f}"
            )


if __name__ == "__main__":
    main()
