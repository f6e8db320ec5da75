"""transformers' Trainer with what a run needs: exact batches, its own order, no silent NaN."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from math import ceil, isfinite
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - as everywhere
from torch.utils.data import DataLoader, Sampler
from transformers import (
    PrinterCallback,
    Trainer,
)

from phasewise.errors import InfeasibleRunError
from phasewise.methods.adapt import build_optimizer, write_model
from phasewise.tasks.instruction import IGNORED
from phasewise.training.batching import order_rows
from phasewise.training.parts import RankParts
from phasewise.training.ranks import Ranks
from phasewise.training.responses import measure_targets
from phasewise.training.run_callback import RunCallback
from phasewise.training.shares import IS_OWN, WHOLE, share_batches
from phasewise.training.trainer_arguments import build_arguments
from phasewise.training.training_run import TrainingRun
from phasewise.training.warm import WarmParts


class RunTrainer(Trainer):  # type: ignore[misc]
    """Trains one run.

    Each effective batch's loss is the mean over its rows (instruction tasks: over its response
    tokens), however it is divided into micro-batches; a loss that is not finite ends the run.

    Attributes:
        train_tokens: Tokens seen so far, padding not counted.
    """

    def __init__(
        self,
        *,
        order: Sampler[int],
        context: Callable[[], AbstractContextManager[None]],
        callback: RunCallback,
        run: TrainingRun,
        ranks: Ranks,
        optimizer: torch.optim.Optimizer,
        **arguments: Any,
    ) -> None:
        super().__init__(callbacks=[callback], **arguments)
        self._ranks = ranks
        self._made_optimizer = optimizer
        self.remove_callback(PrinterCallback)
        # compute_loss divides by the targets of the effective batch, so nothing else may scale.
        self.loss_is_scaled_for_ga = True
        self.model_accepts_loss_kwargs = False
        self._order = order
        self._callback = callback
        self._context = context
        self._run, self._class_weights = run, run.class_weights
        self._targets = 0
        self._tokens: torch.Tensor | int = run.train_tokens
        self._clock, self._seconds_before = perf_counter(), run.train_seconds

    @property
    def train_tokens(self) -> int:
        """Tokens in training batches so far."""
        return int(self._tokens)

    @property
    def state_collector(self) -> Callable[[], dict[str, Any]] | None:
        """Collects the weights of a model that is divided among the ranks; None: it is not."""
        if not self._ranks.shards:
            return None
        return partial(self.accelerator.get_state_dict, self.model_wrapped)

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Takes the optimizer that was given, which the Trainer's own argument refuses to FSDP."""
        self.optimizer = self._made_optimizer
        return self._made_optimizer

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Returns what makes each rank's share of every batch; accelerate would repeat rows."""
        if self._ranks.devices == 1:
            loader: DataLoader[Any] = super().get_train_dataloader()
            return loader
        return DataLoader(
            self.train_dataset,
            batch_size=self.args.per_device_train_batch_size,
            sampler=self._order,
            collate_fn=share_batches(self.data_collator, self._ranks, _count),
            pin_memory=self.args.dataloader_pin_memory,
        )

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: object = None,
    ) -> torch.Tensor:
        """Returns the micro-batch's share of the effective batch's mean loss.

        Times the number of ranks: of their gradients the mean is taken.
        """
        ranks = self._ranks.devices * inputs.pop(IS_OWN, True)
        with self._context():
            if _has_token_targets(inputs):
                return measure_targets(model, inputs)[0].sum() * ranks / self._targets
            outputs = model(**inputs)
            loss: torch.Tensor = outputs.loss
            if self._class_weights is not None:
                labels = inputs["labels"]
                weights = [self._class_weights[label] for label in labels.tolist()]
                losses = F.cross_entropy(outputs.logits.float(), labels, reduction="none")
                loss = (losses * losses.new_tensor(weights)).mean()
        return loss * (ranks * _count_targets(inputs) / self._targets)

    def training_step(self, *arguments: Any, **keywords: Any) -> torch.Tensor:
        """Trains on a micro-batch.

        Raises:
            InfeasibleRunError: The loss is not finite.
        """
        loss: torch.Tensor = super().training_step(*arguments, **keywords)
        if self._ranks.devices > 1:  # all learn of a loss that is not finite
            loss = self.accelerator.reduce(loss, reduction="mean")
        value = loss.item()
        if not isfinite(value):
            raise InfeasibleRunError(
                f"the training loss became {value} at step {self.state.global_step + 1}"
            )
        self._callback.add_loss(value)
        return loss

    def get_batch_samples(self, *arguments: Any) -> tuple[list[Any], Any]:
        """Fetches the micro-batches of an effective batch and counts its targets and tokens."""
        batches, _ = super().get_batch_samples(*arguments)
        counts = [batch.pop(WHOLE) if WHOLE in batch else _count(batch) for batch in batches]
        self._targets = sum(targets for targets, _ in counts)
        self._tokens = self._tokens + sum(tokens for _, tokens in counts)
        return batches, None

    def count(self) -> None:
        """Tells the run what it has taken so far."""
        self._run.train_seconds = self._seconds_before + perf_counter() - self._clock
        self._run.train_tokens = self.train_tokens

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        return self._order

    def _run_epoch(self, **arguments: Any) -> None:
        """Trains for an epoch, unless the run has ended with the evaluation it was resumed for."""
        if not self.control.should_training_stop:
            super()._run_epoch(**arguments)

    def store_flos(self) -> None:
        """Counts no operations: ranks would wait for one another in the midst of their writes."""

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Has the Trainer write its checkpoint where the run's saver keeps them."""
        self.count()
        state = {
            "micro_batch_size": self._run.micro_batch_size,
            "is_due": self._callback.is_due,
            "epoch": float(self.state.epoch),
        }
        seconds = perf_counter() - self._clock
        if self.is_fsdp_enabled:
            # Divides again what the last pass has gathered: on all ranks, be it that one of them
            # then fails before it writes, or they would disagree about what to gather next.
            self.model.state_dict()
        self._run.save(self.state.global_step, seconds, state, self._write)

    def _write(self, folder: Path) -> None:
        """Writes what ``train`` reads; the folder bears the name that the Trainer gives it."""
        self.args.output_dir = str(folder.parent)
        super()._save_checkpoint(self.model, None)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Writes the weights of a checkpoint, but not, as Trainer's own, its arguments, a pickle.

        Of divided weights each rank writes its part.
        """
        assert output_dir is not None
        if self.is_fsdp_enabled:
            self._parts(output_dir).save_weights(self.model)
        elif self._ranks.writes:
            write_model(self.model, Path(output_dir))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if self.is_fsdp_enabled:
            self._parts(resume_from_checkpoint).load_weights(self.model)
        else:
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        if self.is_fsdp_enabled:
            self._parts(output_dir).save_optimizer(self.optimizer, self.lr_scheduler)
        else:
            super()._save_optimizer_and_scheduler(output_dir)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if self.is_fsdp_enabled and checkpoint is not None:
            self._parts(checkpoint).load_optimizer(self.optimizer, self.lr_scheduler)
        else:
            super()._load_optimizer_and_scheduler(checkpoint)

    def _parts(self, folder: str) -> RankParts:
        return RankParts(Path(folder), self._ranks.rank)


def _count(batch: dict[str, torch.Tensor]) -> tuple[int, torch.Tensor]:
    """Returns a batch's targets and tokens; an entry that only tells tokens is taken out."""
    return _count_targets(batch), _pop_tokens(batch)


def _has_token_targets(batch: dict[str, torch.Tensor]) -> bool:
    return "labels" in batch and batch["labels"].ndim == 2


def _count_targets(batch: dict[str, torch.Tensor]) -> int:
    """Returns what the model's loss is the mean of: rows, or tokens that some token predicts."""
    if _has_token_targets(batch):
        return int((batch["labels"][:, 1:] != IGNORED).sum())
    return len(batch["input_ids"])


def _pop_tokens(batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Returns the number of tokens, padding not counted; packed batches bring it along."""
    if "token_count" in batch:
        return batch.pop("token_count")
    return batch["attention_mask"].sum()


def train_run(run: TrainingRun, warm: WarmParts) -> None:
    """Trains a run, from its checkpoint if it has one.

    Raises:
        InfeasibleRunError: A loss or a score is not finite.
        ControllerGoneError: Nobody listens any more; a run that is worth it has been saved.
        SystemExit: The process was asked to end; likewise.
    """
    callback = RunCallback(run, warm.end)
    trainer = build_trainer(run, warm, callback)
    found = run.saver.found
    callback.is_due = found is not None and found.state["is_due"]
    try:
        trainer.train(resume_from_checkpoint=str(found.folder) if found else None)
        run.collect_state = trainer.state_collector
    finally:
        trainer.count()
    if callback.cut_off is not None:
        raise callback.cut_off


def build_trainer(run: TrainingRun, warm: WarmParts, callback: RunCallback) -> RunTrainer:
    """Returns a run's trainer; it neither prints, nor logs, nor evaluates by itself."""
    config = run.job.config
    order = order_rows(config, run.data.train)
    if run.saver.found is not None:  # the Trainer passes over the batches of the last epoch only
        steps_per_epoch = ceil(len(run.data.train) / config.hyperparameters.batch_size)
        for _ in range(run.saver.found.step // steps_per_epoch):
            list(order)
    return RunTrainer(
        order=order,
        context=warm.context(config.unit_config),
        callback=callback,
        run=run,
        model=run.model,
        args=build_arguments(run, warm),
        train_dataset=list(run.data.train),
        data_collator=warm.train_collator(config),
        ranks=warm.ranks,
        optimizer=build_optimizer(
            run.model,
            config.unit_config.method,
            config.hyperparameters,
            kind=config.unit_config.training.optimizer,
        ),
    )
