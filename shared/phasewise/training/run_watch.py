"""Watches a run while it trains: scores, train points, and the word of the pruner."""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from phasewise.records import Evaluation, TrainPoint
from phasewise.tasks.examples import Scored
from phasewise.training.interface import Progress, Reporter

#: A run keeps about this many train points, however long it is.
_TRAIN_POINTS = 50


class StepLoss(Protocol):
    """What trains the run."""

    step_loss: float
    """Mean loss of the effective batch under way."""


class RunWatch(TrainerCallback):  # type: ignore[misc]
    """Scores the search set at the given steps and passes on what it sees.

    Args:
        run: Name of the run, for its reports.
        steps: Optimiser steps after which the search set is scored.
        score_search: Scores the search set with a model.
        score_train: Scores a part of the train sample with a model; asked at the last step only.
        report: Receives every evaluation; its answer is obeyed.
        reported_until: Step up to which an earlier attempt has been reported already.
    """

    def __init__(
        self,
        *,
        run: str,
        steps: frozenset[int],
        score_search: Callable[[Any], Scored],
        score_train: Callable[[Any], Scored],
        report: Reporter,
        reported_until: int = 0,
    ) -> None:
        self.evaluations: list[Evaluation] = []
        self.train_points: list[TrainPoint] = []
        self.pruned = False
        self.last_scored: Scored | None = None
        self.trainer: StepLoss | None = None
        self.reported_until = reported_until
        self._run = run
        self._steps = steps
        self._score_search = score_search
        self._score_train = score_train
        self._report = report
        self._every = max(1, max(steps) // _TRAIN_POINTS)
        self._losses: list[float] = []  # since the last evaluation
        self._rate = 0.0

    @property
    def last_step(self) -> int:
        """The optimiser step that ends the run."""
        return max(self._steps)

    def on_pre_optimizer_step(
        self, args: object, state: object, control: object, **parts: Any
    ) -> None:
        """Notes the learning rate, before the schedule moves on."""
        optimizer: torch.optim.Optimizer = parts["optimizer"]
        self._rate = float(optimizer.param_groups[0]["lr"])

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **parts: Any
    ) -> None:
        """Reports the step; scores if it is one of ``steps``; stops the run if told to."""
        assert self.trainer is not None
        step = int(state.global_step)
        self.note_step(step, self.trainer.step_loss)
        if self.is_due(step):
            self.evaluate(parts["model"], step, float(state.epoch))
            control.should_training_stop = control.should_training_stop or self.pruned

    def note_step(self, step: int, loss: float) -> None:
        """Notes the mean loss of an optimiser step; some become train points of the record."""
        self._losses.append(loss)
        if step % self._every == 0 or step in self._steps:
            self._add_train_point(step)

    def is_due(self, step: int) -> bool:
        """Whether the search set is scored after this step."""
        return step in self._steps

    def evaluate(self, model: Any, step: int, epoch: float) -> None:
        """Scores a model after a step that is due; ``pruned`` tells whether the run ends here."""
        search = self._score_search(model)
        train = self._score_train(model) if step == self.last_step else None
        self.take_scores(step, epoch, search, train)

    def take_scores(self, step: int, epoch: float, search: Scored, train: Scored | None) -> None:
        """Reports an evaluation and obeys; after its last step a run can no longer be pruned.

        Args:
            step: One that is due.
            epoch: Passes over the train sample done.
            search: The search set's.
            train: The train sample's, at the last step.
        """
        self.last_scored = search
        evaluation = Evaluation(
            step=step,
            epoch=epoch,
            train_loss=sum(self._losses) / len(self._losses),
            metrics=search.metrics,
            train_metrics=train.metrics if train else {},
        )
        self._losses.clear()
        self.evaluations.append(evaluation)
        if step <= self.reported_until:
            return
        self.reported_until = step
        is_last = step == self.last_step
        decision = self._report(Progress(self._run, evaluation, is_last))
        self.pruned = decision == "prune" and not is_last

    def _add_train_point(self, step: int) -> None:
        point = TrainPoint(step=step, loss=self._losses[-1], learning_rate=self._rate)
        self.train_points.append(point)
