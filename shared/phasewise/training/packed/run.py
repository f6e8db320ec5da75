"""One run of a pack: its batches, optimizer and schedule, step by step as transformers' Trainer."""

from collections.abc import Iterable, Iterator, Sequence
from math import ceil, isfinite
from pathlib import Path
from typing import NamedTuple

import torch
from transformers import get_scheduler

from phasewise.checkpoints import Checkpoint
from phasewise.errors import InfeasibleRunError
from phasewise.methods.adapt import build_optimizer
from phasewise.seeding import derive_seed
from phasewise.tasks.examples import Feature
from phasewise.tasks.instruction import IGNORED
from phasewise.training.batching import order_rows
from phasewise.training.packed.layout import CannotPackError
from phasewise.training.packed.model import PackedModel
from phasewise.training.packed.run_optimizer import RunOptimizer
from phasewise.training.packed.run_tensors import read_tensors, write_tensors
from phasewise.training.packed.slots import SlotState
from phasewise.training.training_run import TrainingRun


class MicroBatch(NamedTuple):
    """The rows of one forward pass of a run.

    Attributes:
        features: Of the rows.
        targets: Of the effective batch that they belong to: rows, or tokens to be predicted.
        is_last: Whether the effective batch ends here.
        epoch: Share of the train sample seen so far, after these rows.
    """

    features: list[Feature]
    targets: int
    is_last: bool
    epoch: float


def iterate_micro_batches(
    features: Sequence[Feature], shuffle: Iterable[int], *, batch_size: int, micro_batch_size: int
) -> Iterator[MicroBatch]:
    """Yields, without end, the micro-batches that ``RunTrainer`` would see, in its order.

    Args:
        features: The train sample.
        shuffle: The indices of an epoch's rows, anew each time: ``order_rows``.
        batch_size: Effective.
        micro_batch_size: Divides ``batch_size``.
    """
    epoch = 0
    total = ceil(len(features) / micro_batch_size)
    while True:
        order, done = list(shuffle), 0
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            targets = sum(_count_targets(features[index]) for index in batch)
            for first in range(0, len(batch), micro_batch_size):
                chosen = batch[first : first + micro_batch_size]
                done += 1
                yield MicroBatch(
                    [features[index] for index in chosen],
                    targets=targets,
                    is_last=first + micro_batch_size >= len(batch),
                    epoch=epoch + done / total,
                )
        epoch += 1


def _count_targets(feature: Feature) -> int:
    labels = feature["labels"]  # np.ndim would make an array of a number first
    return int((labels[1:] != IGNORED).sum()) if getattr(labels, "ndim", 0) else 1


class PackedRun:
    """A run that has a slot.

    Args:
        training: The run, with its model.
        packed: The pack's model.

    Attributes:
        member: What it brings into the pack.
        parameters: Its weights that train.
        batch: The next micro-batch.
        own_seconds: Spent for this run by this process: its share of the steps, and what was done
            for it alone.
        is_due: Whether it waits to be scored, before its next step or its end.
        leaves: Why it must go on alone, outside the pack; empty while it need not.
    """

    def __init__(self, training: TrainingRun, packed: PackedModel) -> None:
        self.training, self.job = training, training.job
        config, hyperparameters = self.job.config, self.job.config.hyperparameters
        seed = derive_seed(config.seeds.init, "dropout")
        self.member = packed.join(training.model, seed)
        self.parameters = [w for w in training.model.parameters() if w.requires_grad]
        self.own_seconds = 0.0
        self.leaves = ""
        self.is_due = False
        self._steps, self._steps_made, self._epoch = training.watch.last_step, 0, 0.0
        self._taken = 0  # micro-batches
        self._loss = 0.0  # mean of the effective batch under way
        self._optimizer = self._build_optimizer()
        self._batches = iterate_micro_batches(
            training.data.train,
            order_rows(config, training.data.train),
            batch_size=hyperparameters.batch_size,
            micro_batch_size=training.micro_batch_size,
        )
        self.batch = next(self._batches)
        if training.saver.found is not None:
            self._restore(training.saver.found)

    def save(self, slots: SlotState) -> None:
        """Writes a checkpoint; one that cannot be written is told of.

        Args:
            slots: How many runs train with it.
        """
        stream = self.member.stream.state
        state = {
            "micro_batch_size": self.training.micro_batch_size,
            "taken": self._taken,
            "steps": self._steps_made,
            "epoch": self._epoch,
            "loss": self._loss,
            "is_due": self.is_due,
            "slots": slots,
            "stream": stream if isinstance(stream, int) else None,
        }
        self.training.save(self._steps_made, self.own_seconds, state, self._write_tensors)

    def _write_tensors(self, folder: Path) -> None:
        stream, saved = self.member.stream.state, self._optimizer.save()
        write_tensors(folder, self._name_parameters(), saved, stream)

    def _name_parameters(self) -> dict[str, torch.Tensor]:
        named = self.training.model.named_parameters()
        return {name: weight for name, weight in named if weight.requires_grad}

    def _restore(self, found: Checkpoint) -> None:
        """Goes on as the run that was saved.

        Raises:
            CannotPackError: It was saved with other micro-batches.
        """
        state = found.state
        if state["micro_batch_size"] != self.training.micro_batch_size:
            size = state["micro_batch_size"]
            raise CannotPackError(f"{found.folder} is of a run in micro-batches of {size} rows")
        saved, stream = read_tensors(found.folder, self._name_parameters())
        self._optimizer.restore(saved)
        self.member.stream.put_back(state["stream"] if stream is None else stream)
        for _ in range(state["taken"]):
            self.batch = next(self._batches)
        self._taken, self._steps_made = state["taken"], state["steps"]
        self._epoch, self._loss, self.is_due = state["epoch"], state["loss"], state["is_due"]

    def _build_optimizer(self) -> RunOptimizer:
        unit, hyperparameters = self.job.config.unit_config, self.job.config.hyperparameters
        optimizer = build_optimizer(
            self.training.model, unit.method, hyperparameters, self.parameters
        )
        schedule = get_scheduler(
            hyperparameters.schedule,
            optimizer,
            num_warmup_steps=hyperparameters.count_warmup_steps(self._steps),
            num_training_steps=self._steps,
        )
        return RunOptimizer(optimizer, schedule, self.parameters, unit.training.max_grad_norm)

    @property
    def is_ended(self) -> bool:
        """Whether there is nothing left to train."""
        return bool(self.leaves) or self.training.status != "finished" or self.is_at_end

    @property
    def is_at_end(self) -> bool:
        """Whether its last optimizer step has been made."""
        return self._steps_made >= self._steps

    def shares(self, losses: int) -> list[float]:
        """Returns the share of each of ``batch``'s losses in the effective batch's loss."""
        targets, weights = self.batch.targets, self.training.class_weights
        if weights is None:
            return [1 / targets] * losses
        return [weights[int(feature["labels"])] / targets for feature in self.batch.features]

    def take(self, loss: float, grads: Sequence[torch.Tensor | None], tokens: int) -> None:
        """Takes the gradients of ``batch``; at the end of an effective batch, makes a step.

        Args:
            loss: The micro-batch's share of the effective batch's mean loss.
            grads: Of ``parameters``.
            tokens: Of the micro-batch, padding not counted.

        Raises:
            InfeasibleRunError: The loss is not finite.
        """
        if not isfinite(loss):
            step = self._steps_made + 1
            raise InfeasibleRunError(f"the training loss became {loss} at step {step}")
        self._loss += loss
        self._taken += 1
        self.training.train_tokens += tokens
        if self.batch.is_last:
            self._step(grads)
        else:
            self._optimizer.add(grads)
        if not self.is_ended:
            self.batch = next(self._batches)

    def _step(self, grads: Sequence[torch.Tensor | None]) -> None:
        watch, rate = self.training.watch, float(self._optimizer.optimizer.param_groups[0]["lr"])
        self._optimizer.step(grads)
        self._steps_made += 1
        self._epoch = self.batch.epoch
        watch.note_step(self._steps_made, self._loss, rate)
        self._loss = 0.0
        self.is_due = watch.is_due(self._steps_made)

    def evaluate(self) -> None:
        """Scores the run, which is due, and reports it.

        Raises:
            InfeasibleRunError: A score is not finite.
        """
        self.training.evaluate(self._steps_made, self._epoch)
        self.is_due = False
        if not self.training.model.training:  # in that mode PEFT may hold old norms
            self.training.model.train()
