"""What transformers' Trainer is told between its steps: score, save, stop."""

from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from phasewise.training.interface import ControllerGoneError
from phasewise.training.saving import TERMINATED, EndRequest
from phasewise.training.training_run import TrainingRun


class RunCallback(TrainerCallback):  # type: ignore[misc]
    """Tells a run of the Trainer's steps, and stops the Trainer where the run ends.

    Args:
        run: What is trained.
        end: What this process was asked to do; then the run is saved, and training stops.

    Attributes:
        cut_off: Why training stopped before the run ended; None: it did not.
        is_due: Whether the run is still to be scored after its last step.
    """

    def __init__(self, run: TrainingRun, end: EndRequest) -> None:
        self._run, self._end = run, end
        self._loss = self._learning_rate = 0.0
        self.cut_off: BaseException | None = None
        self.is_due = False

    def add_loss(self, loss: float) -> None:
        """Takes a micro-batch's share of the effective batch's mean loss."""
        self._loss += loss

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **parts: Any
    ) -> None:
        """Makes an evaluation again that nobody heard of before the run was saved."""
        step, watch = int(state.global_step), self._run.watch
        self.score(step, float(state.epoch))
        ended = watch.pruned or step >= watch.last_step
        control.should_training_stop = ended or self.cut_off is not None

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **parts: Any
    ) -> None:
        """Notes the learning rate, before the schedule moves on."""
        self._learning_rate = float(parts["optimizer"].param_groups[0]["lr"])

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **parts: Any
    ) -> None:
        """Scores the run if the step is one of its evaluations, and has it saved if it is time."""
        step, watch = int(state.global_step), self._run.watch
        watch.note_step(step, self._loss, self._learning_rate)
        self._loss = 0.0
        self.is_due = watch.is_due(step)
        self.score(step, float(state.epoch))
        if self.cut_off is None and (watch.pruned or step == watch.last_step):
            control.should_training_stop = True
            return
        saver, ranks = self._run.saver, self._run.ranks
        # Clocks differ between ranks, and a signal may have reached only one of them.
        asked, is_worth_saving, is_due = ranks.agree(
            args.device, self._end.is_made, saver.is_worth_saving, saver.is_due
        )
        if asked and self.cut_off is None:
            self.cut_off = SystemExit(TERMINATED)
        ends = self.cut_off is not None
        control.should_save = is_worth_saving if ends else is_due
        control.should_training_stop = control.should_training_stop or ends

    def score(self, step: int, epoch: float) -> None:
        """Scores the run if it is due; notes if nobody listens any more."""
        if self.is_due:
            try:
                self._run.evaluate(step, epoch)
                self.is_due = False
            except ControllerGoneError as error:
                self.cut_off = error
