"""The candidates for the optimum: the best trials, confirmed on fresh seeds."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from phasewise.settings import Hyperparameters
from phasewise.statistics import summarize_scores
from phasewise.summaries import ScoreSummary
from phasewise.tuning.ended_trials import EndedTrial
from phasewise.tuning.objectives import Objective, pareto_front


class Candidate(NamedTuple):
    """A finished trial with its score in the search and those on fresh seeds."""

    number: int
    value: float
    hyperparameters: Hyperparameters
    confirmed: ScoreSummary  # of the fresh seeds only; empty before they have run


def rank_finished(trials: Sequence[EndedTrial], sign: float) -> list[EndedTrial]:
    """Returns the finished trials, best raw score first; of equal ones the earlier first.

    Args:
        trials: Ended trials in any order; those that did not finish, or broke a limit, are left
            out.
        sign: +1 if higher is better, -1 if lower is.
    """
    finished = [trial for trial in trials if trial.value is not None and trial.within_limits]
    return sorted(finished, key=lambda trial: (-sign * (trial.value or 0.0), trial.number))


def rank_trials(trials: Sequence[EndedTrial], objective: Objective) -> list[EndedTrial]:
    """Returns the trials to choose from, best first; of a front its members by the first value.

    Args:
        trials: Ended trials in any order.
        objective: What they are compared by.
    """
    ranked = rank_finished(trials, objective.sign)
    if objective.kind != "pareto":
        return ranked
    signs = [component.sign for component in objective.components]
    front = pareto_front([trial.values for trial in ranked], signs)
    return [ranked[index] for index in front]


def build_candidates(
    best: Sequence[EndedTrial], scores: Mapping[int, Sequence[float]]
) -> list[Candidate]:
    """Returns the trials with their confirmations.

    Args:
        best: Finished trials.
        scores: Trial number to the finite scores of its fresh seeds; runs without a score are
            left out, so a trial may have fewer than the others, or none.
    """
    return [
        Candidate(
            number=trial.number,
            value=trial.value,
            hyperparameters=trial.hyperparameters,
            confirmed=summarize_scores(scores.get(trial.number, ())),
        )
        for trial in best
        if trial.value is not None
    ]


def rank_candidates(candidates: Sequence[Candidate], sign: float) -> list[Candidate]:
    """Returns the candidates, the best confirmed mean first: that one is the optimum.

    The raw score does not enter: the best of n is high by luck too. Candidates without any
    confirmed score are beaten by all that have one; if none has one the raw score decides. Ties
    go to the earlier trial. There are no NaNs: a run without a finite score has no score.

    Args:
        candidates: In any order.
        sign: +1 if higher is better, -1 if lower is.
    """

    def key(candidate: Candidate) -> tuple[bool, float, int]:
        mean = candidate.confirmed.mean
        score = candidate.value if mean is None else mean
        return mean is None, -sign * score, candidate.number

    return sorted(candidates, key=key)
