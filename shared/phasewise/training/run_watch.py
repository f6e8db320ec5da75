"""Watches a run while it trains: its train points, its evaluations and the pruner's decision."""

from typing import Any

from phasewise.live import LiveLog
from phasewise.records import Evaluation, TrainPoint
from phasewise.tasks.examples import Scored
from phasewise.training.interface import Progress, Reporter

#: A run keeps about this many train points, however long it is.
_TRAIN_POINTS = 50


class RunWatch:
    """Takes note of a run's steps and scores, and passes on what it sees.

    Args:
        run: Name of the run, for its reports.
        steps: Optimizer steps after which the run is scored.
        report: Receives every evaluation; its answer is obeyed.
        live: Where others read how far the run is; None: another process tells.
        reported_until: Step up to which an earlier attempt has been reported already.
    """

    def __init__(
        self,
        *,
        run: str,
        steps: frozenset[int],
        report: Reporter,
        live: LiveLog | None,
        reported_until: int = 0,
    ) -> None:
        self.evaluations: list[Evaluation] = []
        self.train_points: list[TrainPoint] = []
        self.pruned = False
        self.last_scored: Scored | None = None
        self.reported_until = reported_until
        self._run = run
        self._steps = steps
        self._report = report
        self._live = live
        self._every = max(1, max(steps) // _TRAIN_POINTS)
        self._losses: list[float] = []  # since the last evaluation

    @property
    def last_step(self) -> int:
        """The optimizer step that ends the run."""
        return max(self._steps)

    def note_step(self, step: int, loss: float, learning_rate: float) -> None:
        """Notes an optimizer step; some become train points of the record.

        Args:
            step: Optimizer steps done.
            loss: Mean of the effective batch.
            learning_rate: Of this step, before the schedule moved on.
        """
        self._losses.append(loss)
        if step % self._every == 0 or step in self._steps:
            point = TrainPoint(step=step, loss=loss, learning_rate=learning_rate)
            self.train_points.append(point)
            if self._live is not None:
                self._live.note("train", point)

    def is_due(self, step: int) -> bool:
        """Whether the run is scored after this step."""
        return step in self._steps

    def take_scores(self, step: int, epoch: float, search: Scored, train: Scored | None) -> None:
        """Reports an evaluation and obeys; after its last step a run can no longer be pruned.

        Args:
            step: One that is due.
            epoch: Passes over the train sample done.
            search: The search set's.
            train: The train sample's, at the last step.
        """
        evaluation = Evaluation(
            step=step,
            epoch=epoch,
            train_loss=sum(self._losses) / len(self._losses),
            metrics=search.metrics,
            train_metrics=train.metrics if train else {},
        )
        if self._live is not None:
            self._live.note("evaluation", evaluation)
        is_last = step == self.last_step
        if step > self.reported_until:  # if nobody listens any more, the step is still due
            decision = self._report(Progress(self._run, evaluation, is_last))
            self.reported_until = step
            self.pruned = decision == "prune" and not is_last
        self.last_scored = search
        self._losses.clear()
        self.evaluations.append(evaluation)

    def describe(self) -> dict[str, Any]:
        """Returns what ``restore`` takes, JSON."""
        return {
            "evaluations": [each.model_dump(mode="json") for each in self.evaluations],
            "train_points": [each.model_dump(mode="json") for each in self.train_points],
            "losses": list(self._losses),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Takes note of all that a checkpoint's run has seen; its evaluations were reported."""
        self.evaluations = [Evaluation.model_validate(each) for each in state["evaluations"]]
        self.train_points = [TrainPoint.model_validate(each) for each in state["train_points"]]
        self._losses = list(state["losses"])
        known = (each.step for each in self.evaluations)
        self.reported_until = max(self.reported_until, *known, 0)
        if self._live is not None:
            for point in self.train_points:
                self._live.note("train", point)
            for evaluation in self.evaluations:
                self._live.note("evaluation", evaluation)
