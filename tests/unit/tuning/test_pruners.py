"""At which point of training trials are compared, and what follows."""

from typing import Any

import optuna
import pytest

from phasewise.pruners import STAGES
from phasewise.records import Evaluation
from phasewise.settings import SearchSettings
from phasewise.tuning.pruners import TrialPruner, build_pruner, stage_of


@pytest.mark.parametrize(
    ("epoch", "epochs", "stage"),
    [
        (1, 1, 12),
        (1, 2, 6),
        (1, 3, 4),
        (2, 3, 8),
        (1, 5, 2),
        (0.05, 1, 0),
        (0.1, 0.3, 4),
        (7, 6, 12),
    ],
)
def test_stage_is_the_fraction_of_a_trials_own_training(
    epoch: float, epochs: float, stage: int
) -> None:
    assert stage_of(epoch, epochs) == stage


def _evaluate(trial_pruner: TrialPruner, trial: Any, scores: list[float], epochs: int) -> list[str]:
    decisions = []
    for epoch, score in enumerate(scores, start=1):
        evaluation = Evaluation(
            step=epoch, epoch=epoch, train_loss=None, metrics={"accuracy": score}
        )
        decisions.append(trial_pruner.decide(trial, evaluation, epochs))
    return decisions


def _study(
    pruner: Any, said: list[str] | None = None, **settings: Any
) -> tuple[optuna.Study, TrialPruner]:
    said = [] if said is None else said
    search = SearchSettings(pruner=pruner, **settings)
    study = optuna.create_study(direction="maximize", pruner=build_pruner(search))
    return study, TrialPruner(study, search, lambda metrics: metrics.get("accuracy"), said.append)


def _again(study: optuna.Study, pruner: Any) -> TrialPruner:
    """The pruner of a later call."""
    search = SearchSettings(pruner=pruner)
    return TrialPruner(study, search, lambda metrics: metrics.get("accuracy"), print)


def _finish(study: optuna.Study, trial_pruner: TrialPruner, scores: list[float]) -> None:
    trial = study.ask()
    assert "prune" not in _evaluate(trial_pruner, trial, scores, len(scores))
    study.tell(trial, scores[-1])


def test_median_compares_trials_of_different_lengths() -> None:
    study, trial_pruner = _study("median")
    for scores in ([0.8, 0.9], [0.7, 0.8, 0.9], [0.6, 0.7, 0.8, 0.9], [0.5, 0.9]):
        _finish(study, trial_pruner, scores)
    # Half way (stage 6) they stood at .8, .7 (of stage 4), .7 and .5: the median is .7.
    assert _evaluate(trial_pruner, study.ask(), [0.69], 2) == ["prune"]
    assert _evaluate(trial_pruner, study.ask(), [0.71], 2) == ["continue"]


def test_median_waits_for_four_ended_trials() -> None:
    study, trial_pruner = _study("median")
    for _ in range(3):
        _finish(study, trial_pruner, [0.8, 0.9])
    assert _evaluate(trial_pruner, study.ask(), [0.1], 2) == ["continue"]


def test_nothing_is_pruned_at_its_end() -> None:
    study, trial_pruner = _study("median")
    for _ in range(5):
        _finish(study, trial_pruner, [0.8, 0.9])
    assert _evaluate(trial_pruner, study.ask(), [0.1], 1) == ["continue"]


def test_score_that_is_no_number_is_left_to_the_engine() -> None:
    study, trial_pruner = _study("median")
    for _ in range(5):
        _finish(study, trial_pruner, [0.8, 0.9])
    evaluation = Evaluation(step=1, epoch=1, train_loss=None, metrics={})
    assert trial_pruner.decide(study.ask(), evaluation, 2) == "continue"


def test_asha_keeps_the_best_third_at_a_rung() -> None:
    study, trial_pruner = _study("asha", pruning_factor=3)
    decisions = [
        _evaluate(trial_pruner, study.ask(), [score], 3)[0] for score in (0.5, 0.6, 0.4, 0.55)
    ]
    # 1st: alone; 2nd: best of 2; 3rd: worst of 3; 4th: second of 4, and one of 4 may go on.
    assert decisions == ["continue", "continue", "prune", "prune"]


def test_wilcoxon_needs_several_paired_evaluations() -> None:
    study, trial_pruner = _study("wilcoxon")
    _finish(study, trial_pruner, [0.7, 0.75, 0.8, 0.85, 0.86, 0.9])
    decisions = _evaluate(trial_pruner, study.ask(), [0.5, 0.51, 0.52, 0.53, 0.54], 6)
    # One-sided p of n losses in a row is 2**-n: below .1 from the fourth on.
    assert decisions == ["continue", "continue", "continue", "prune", "prune"]


def test_trial_that_starts_again_is_judged_by_its_new_scores() -> None:
    study, trial_pruner = _study("median")
    for _ in range(4):
        _finish(study, trial_pruner, [0.5, 0.6, 0.7, 0.8])
    trial = study.ask()
    assert _evaluate(trial_pruner, trial, [0.9, 0.9], 4) == ["continue", "continue"]
    trial_pruner.forget(trial.number)
    assert _evaluate(trial_pruner, trial, [0.1], 4) == ["prune"]
    assert max(study.trials[trial.number].intermediate_values) < STAGES


def _train(
    trial_pruner: TrialPruner, trial: Any, losses: list[tuple[float, float]], score: float
) -> str:
    """Returns the decision after the last of some (training loss, search loss) of six epochs."""
    decision = ""
    for epoch, (train, search) in enumerate(losses, start=1):
        metrics = {"accuracy": score, "eval_loss": search}
        evaluation = Evaluation(step=epoch, epoch=epoch, train_loss=train, metrics=metrics)
        decision = trial_pruner.decide(trial, evaluation, 6)
    return decision


_PATTERNS = {
    "its training loss rose from 0.5 to 0.9": [(0.69, 0.69), (0.5, 0.5), (0.9, 0.9)],
    "its training loss stands still at 0.69": [(0.692, 0.69), (0.693, 0.69), (0.69, 0.69)],
    "its search loss rose from 0.5 to 0.6": [(0.6, 0.5), (0.4, 0.56), (0.2, 0.6)],
}


@pytest.mark.parametrize(("reason", "losses"), _PATTERNS.items())
def test_losses_stop_a_trial_that_scores_below_the_best(
    reason: str, losses: list[tuple[float, float]]
) -> None:
    said: list[str] = []
    study, trial_pruner = _study("none", said, stop_on_loss=True)
    assert _train(trial_pruner, study.ask(), losses, 0.6) == "continue"  # none has finished
    _finish(study, trial_pruner, [0.7])
    number = study.ask().number
    trial = study.ask()
    assert _train(trial_pruner, trial, losses[:2], 0.6) == "continue"
    trial_pruner.forget(trial.number)
    assert _train(trial_pruner, trial, losses, 0.6) == "prune"
    assert said == [f"trial {number + 1} is stopped: {reason}"]
    assert _train(trial_pruner, study.ask(), losses, 0.7) == "continue"  # as good as the best
    without, unwatched = _study("none")
    _finish(without, unwatched, [0.7])
    assert _train(unwatched, without.ask(), losses, 0.6) == "continue"


def test_a_loss_that_falls_or_a_short_rise_stops_nothing() -> None:
    study, trial_pruner = _study("none", stop_on_loss=True)
    _finish(study, trial_pruner, [0.7])
    falling = [(0.69, 0.69), (0.6, 0.6), (0.5, 0.66), (0.4, 0.6), (0.3, 0.61)]
    assert _train(trial_pruner, study.ask(), falling, 0.6) == "continue"
    # Still at a third of its training: a warm-up may be under way.
    assert _train(trial_pruner, study.ask(), [(0.69, 0.69), (0.69, 0.69)], 0.6) == "continue"


def test_a_trial_that_goes_on_from_a_checkpoint_is_judged_by_its_whole_history() -> None:
    """Wilcoxon compares stage by stage: without the first stages it would let the trial go on."""
    curve = [0.30, 0.31, 0.32, 0.33, 0.34, 0.35]

    def decide(resumes_after: int) -> list[str]:
        study, trial_pruner = _study("wilcoxon")
        _finish(study, trial_pruner, [score + 0.5 for score in curve])
        trial = study.ask()
        decisions = _evaluate(trial_pruner, trial, curve[:resumes_after], 6)
        again = _again(study, "wilcoxon")
        known = [
            Evaluation(step=e, epoch=e, train_loss=None, metrics={"accuracy": s})
            for e, s in enumerate(curve[:resumes_after], start=1)
        ]
        again.remember(trial, known, 6)
        for epoch in range(resumes_after + 1, 7):
            metrics = {"accuracy": curve[epoch - 1]}
            evaluation = Evaluation(step=epoch, epoch=epoch, train_loss=None, metrics=metrics)
            decisions.append(again.decide(trial, evaluation, 6))
        return decisions

    whole = decide(0)
    assert whole.index("prune") > 2
    assert all(decide(k) == whole for k in range(1, whole.index("prune")))


def test_a_checkpoints_scores_are_not_judged_again() -> None:
    """Those trials that have ended meanwhile would prune it where it was let go on."""
    study, trial_pruner = _study("median")
    trial = study.ask()
    assert _evaluate(trial_pruner, trial, [0.1], 2) == ["continue"]
    for _ in range(5):
        _finish(study, trial_pruner, [0.8, 0.9])
    again = _again(study, "median")
    known = Evaluation(step=1, epoch=1, train_loss=None, metrics={"accuracy": 0.1})
    again.remember(trial, [known], 2)
    assert study.trials[trial.number].intermediate_values == {6: 0.1}
    assert _evaluate(again, trial, [0.1], 2) == ["continue"]  # of the same stage


def test_losses_up_to_a_checkpoint_count_when_a_trial_goes_on() -> None:
    said: list[str] = []
    study, trial_pruner = _study("none", said, stop_on_loss=True)
    _finish(study, trial_pruner, [0.7])
    trial = study.ask()
    known = [
        Evaluation(step=e, epoch=e, train_loss=loss, metrics={"accuracy": 0.6, "eval_loss": loss})
        for e, loss in enumerate((0.69, 0.5), start=1)
    ]
    trial_pruner.remember(trial, known, 6)
    worse = Evaluation(step=3, epoch=3, train_loss=0.9, metrics={"accuracy": 0.6, "eval_loss": 0.9})
    assert trial_pruner.decide(trial, worse, 6) == "prune"
    assert said == [f"trial {trial.number} is stopped: its training loss rose from 0.5 to 0.9"]
