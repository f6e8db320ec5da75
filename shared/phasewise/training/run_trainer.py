"""transformers' Trainer with what a run needs: exact batches, its own order, no silent NaN."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - as everywhere
from torch.utils.data import DataLoader, Sampler
from transformers import (
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from phasewise.errors import InfeasibleRunError
from phasewise.methods.adapt import build_optimizer
from phasewise.tasks.instruction import IGNORED
from phasewise.training.batching import order_rows
from phasewise.training.ranks import Ranks
from phasewise.training.responses import measure_targets
from phasewise.training.shares import (
    IS_OWN,
    WHOLE,
    choose_strategy,
    let_cpus_shard,
    share_batches,
)
from phasewise.training.training_run import TrainingRun
from phasewise.training.warm import WarmParts


class RunCallback(TrainerCallback):  # type: ignore[misc]
    """Tells a run of the Trainer's steps, and stops the Trainer where the run ends.

    Args:
        run: What is trained.
    """

    def __init__(self, run: TrainingRun) -> None:
        self._run = run
        self._loss = self._learning_rate = 0.0

    def add_loss(self, loss: float) -> None:
        """Takes a micro-batch's share of the effective batch's mean loss."""
        self._loss += loss

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **parts: Any
    ) -> None:
        """Notes the learning rate, before the schedule moves on."""
        self._learning_rate = float(parts["optimizer"].param_groups[0]["lr"])

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **parts: Any
    ) -> None:
        """Scores the run if the step is one of its evaluations."""
        step, watch = int(state.global_step), self._run.watch
        watch.note_step(step, self._loss, self._learning_rate)
        self._loss = 0.0
        if watch.is_due(step):
            self._run.evaluate(step, float(state.epoch))
            control.should_training_stop = control.should_training_stop or watch.pruned


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
        class_weights: dict[int, float] | None,
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
        self._class_weights = class_weights
        self._targets = 0
        self._tokens: torch.Tensor | int = 0

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
        if not math.isfinite(value):
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

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        return self._order


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


def build_trainer(run: TrainingRun, warm: WarmParts) -> RunTrainer:
    """Returns a run's trainer; it neither prints, nor logs, nor evaluates, nor writes by itself."""
    config = run.job.config
    return RunTrainer(
        order=order_rows(config, run.data.train),
        context=warm.context(config.unit_config),
        callback=RunCallback(run),
        class_weights=run.class_weights,
        model=run.model,
        args=_build_arguments(run, warm),
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


def _build_arguments(run: TrainingRun, warm: WarmParts) -> TrainingArguments:
    config, device, training = run.job.config, warm.device, run.job.config.unit_config.training
    hyperparameters = config.hyperparameters
    arguments = TrainingArguments(
        output_dir=str(run.job.folder),
        num_train_epochs=hyperparameters.epochs,
        per_device_train_batch_size=run.micro_batch_size,
        gradient_accumulation_steps=hyperparameters.batch_size // run.micro_batch_size,
        learning_rate=hyperparameters.learning_rate,
        warmup_steps=hyperparameters.warmup,  # below 1 it is a share of all steps
        lr_scheduler_type=hyperparameters.schedule,
        max_grad_norm=training.max_grad_norm,
        seed=(config.seeds.init + warm.ranks.rank) % 2**32,  # each rank drops out by its own draws
        use_cpu=device.type == "cpu",
        remove_unused_columns=False,
        dataloader_pin_memory=device.type == "cuda",
        eval_strategy="no",
        save_strategy="no",
        logging_strategy="no",
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
        log_level="error",
        **choose_strategy(
            warm.ranks, run.model, checkpoints_activations=training.gradient_checkpointing
        ),
    )
    let_cpus_shard(arguments)
    arguments._n_gpu = min(arguments.n_gpu, 1)  # a worker has one GPU, whatever else is visible
    return arguments
