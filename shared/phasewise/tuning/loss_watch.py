"""Whether a trial's losses say that it need not go on, whatever the other trials are.

The three patterns are those of ALTO (arXiv 2604.05426): a loss that diverges, stands still, or
falls in training while it rises on the search set. Here none of them ends a trial that scores as
well as the best finished one, so what a search would choose is not stopped.
"""

from collections.abc import Sequence

from phasewise.records import Evaluation

#: A training loss so many times its lowest has left what it had learned.
_DIVERGED = 1.5
#: By half of its training a loss must have fallen by this share of the first evaluation's.
_HALF, _LEAST_FALL = 0.5, 0.01
#: A search loss so many times its lowest, twice in a row, will not come back.
_OVERFITTED = 1.1


class LossWatch:
    """Keeps the evaluations of the trials under way."""

    def __init__(self) -> None:
        self._seen: dict[int, list[Evaluation]] = {}

    def forget(self, number: int) -> None:
        """Drops a trial's earlier attempt, since it starts again."""
        self._seen.pop(number, None)

    def judge(self, number: int, evaluation: Evaluation, share: float, *, loses: bool) -> str:
        """Returns why a trial is stopped; empty: it goes on.

        Args:
            number: Of the trial.
            evaluation: Its newest.
            share: Of its training that is done, 0..1.
            loses: Whether its score is below that of the best finished trial.
        """
        seen = self._seen.setdefault(number, [])
        seen.append(evaluation)
        return describe_losses(seen, share) if loses and share < 1 else ""


def describe_losses(evaluations: Sequence[Evaluation], share: float) -> str:
    """Returns what is wrong with a run's losses; empty: nothing.

    Args:
        evaluations: Of the run so far, at least one.
        share: Of its training that is done, 0..1.
    """
    train = [each.train_loss for each in evaluations if each.train_loss is not None]
    search = [each.metrics["eval_loss"] for each in evaluations if "eval_loss" in each.metrics]
    if len(train) > 1 and train[-1] > _DIVERGED * min(train):
        return f"its training loss rose from {min(train):.3g} to {train[-1]:.3g}"
    if share >= _HALF and len(train) > 1 and train[-1] > (1 - _LEAST_FALL) * train[0]:
        return f"its training loss stands still at {train[-1]:.3g}"
    above = [loss > _OVERFITTED * min(search) for loss in search]
    if len(search) > 2 and all(above[-2:]) and train[-1] < train[-2]:
        return f"its search loss rose from {min(search):.3g} to {search[-1]:.3g}"
    return ""
