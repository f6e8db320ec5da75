"""What a worker keeps between runs: tokenizer, base model and data, each loaded once."""

import gc
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

from phasewise.methods.base_config import require_positions
from phasewise.methods.models import BaseModel, load_base_model, load_tokenizer
from phasewise.methods.templates import AdapterTemplates
from phasewise.runs import RunConfig, UnitConfig
from phasewise.settings import MachineSettings
from phasewise.tasks.collation import build_collator, build_packing_collator
from phasewise.tasks.data import TaskData, load_task_data, load_train_eval
from phasewise.tasks.examples import EvalSet, Outputs
from phasewise.tasks.kinds import get_kind
from phasewise.training.device import (
    autocast,
    choose_device,
    choose_precision,
    release_memory,
    seed_draws,
)
from phasewise.training.interface import RunJob
from phasewise.training.prediction import Collate
from phasewise.training.products import use_fastest_products
from phasewise.training.ranks import Ranks
from phasewise.training.responses import run_eval_set
from phasewise.training.saving import EndRequest, RunSaver, name_owner

#: Rows of the train sample that are scored at the end of a run: a sign of overfitting, no result.
TRAIN_EVAL_ROWS = 50
#: Train samples held at once: Phase 1 uses one, Phase 2 one for each seed that trains.
_DATA_ENTRIES = 16


@dataclass
class WarmParts:
    """Loads on demand and keeps the last used; one model, one tokenizer, a few train samples.

    Args:
        device: Where base models whose weights never train are held.
        ranks: The processes that train a run together with this one.
        checkpoint_minutes: See ``MachineSettings``.

    Attributes:
        end: What the process was asked to do.
    """

    device: torch.device
    ranks: Ranks = field(default_factory=Ranks)
    checkpoint_minutes: float | None = None
    end: EndRequest = field(default_factory=EndRequest)
    _tokenizers: dict[str, Any] = field(default_factory=dict)
    _bases: dict[str, BaseModel] = field(default_factory=dict)
    _data: dict[str, tuple[TaskData, EvalSet]] = field(default_factory=dict)
    _templates: AdapterTemplates = field(default_factory=AdapterTemplates)

    def saver(self, job: RunJob, engine: str) -> RunSaver:
        """Returns what saves a run that an engine trains here; DeepSpeed's are not saved."""
        where = f"{self.device.type} {self.ranks.layout}".strip()
        minutes = None if self.ranks.deepspeed_config else self.checkpoint_minutes
        return RunSaver(job, minutes, name_owner(job, engine, where), self.ranks)

    def tokenizer(self, unit: UnitConfig) -> Any:
        """Returns the tokenizer of a unit's model."""
        key = unit.model.model_dump_json()
        if key not in self._tokenizers:
            self._tokenizers = {key: load_tokenizer(unit.model)}
        return self._tokenizers[key]

    def collator(self, unit: UnitConfig) -> Collate:
        """Returns what makes batches of a unit's features, padded: for scoring."""
        return build_collator(self.tokenizer(unit))

    def train_collator(self, config: RunConfig) -> Collate:
        """Returns what makes batches of a run's features for training, packed if its task is."""
        unit = config.unit_config
        if not unit.task.packing:
            return self.collator(unit)
        capacity = config.hyperparameters.max_length or unit.task.max_length
        return build_packing_collator(self.tokenizer(unit), capacity)

    def data(self, config: RunConfig) -> tuple[TaskData, EvalSet]:
        """Returns a run's data, and a part of its train sample to be scored."""
        unit, seed = config.unit_config, config.seeds.subset
        length = config.hyperparameters.max_length
        key = f"{unit.model_dump_json()}{seed}-{length}"
        if key not in self._data:
            while len(self._data) >= _DATA_ENTRIES:
                self._data.pop(next(iter(self._data)))
            longest = max(unit.task.max_length, length or 0)
            require_positions(unit.model, longest, f"task '{unit.task.name}': max_length")
            tokenizer = self.tokenizer(unit)
            train_eval = load_train_eval(unit.data, tokenizer, seed, TRAIN_EVAL_ROWS)
            self._data[key] = (load_task_data(unit.data, tokenizer, seed, length), train_eval)
        return self._data[key]

    def base(self, unit: UnitConfig, auto_class: str, kwargs: dict[str, Any]) -> BaseModel:
        """Returns the pretrained model of a unit; ``adapt_model`` leaves it as it is."""
        precision = choose_precision(unit.model, unit.method, self.device)
        # A base that is copied for each run stays off the device, so that only one copy lies there.
        # One that is divided never lies there as a whole.
        on_cpu = unit.method.traits.copies_base or self.ranks.shards
        device = torch.device("cpu") if on_cpu else self.device
        parts = (unit.model.model_dump_json(), auto_class, kwargs, unit.method.quantization)
        key = repr((*parts, unit.training.attention, precision, device))
        if key not in self._bases:
            if self._bases:  # a collection would copy what forked workers share
                gc.unfreeze()
                self._bases.clear()
                release_memory(self.device)
            loaded = load_base_model(
                unit.model,
                auto_class=auto_class,
                kwargs=kwargs,
                tokenizer=self.tokenizer(unit),
                quantization=unit.method.quantization,
                dtype=precision.weights,
                compute_dtype=precision.products,
                device=device,
                attention=unit.training.attention,
            )
            if precision.products == precision.weights and self.ranks.devices == 1:
                use_fastest_products(loaded.model)
            self._bases[key] = loaded
            # A collection over all that torch and transformers hold takes 0.5 s, and each run
            # needs two to free its model: leave what stays warm out of them.
            gc.freeze()
        return self._bases[key]

    def build_model(self, config: RunConfig) -> Any:
        """Returns a run's model, drawn from its seed: the base model, adapted."""
        unit = config.unit_config
        kind = get_kind(unit.task)
        base = self.base(unit, kind.auto_class, kind.model_kwargs(unit.task))
        seed_draws(config.seeds.init, self.device)
        model = self._templates.build(base, unit.method, config.hyperparameters, kind.auto_class)
        # All others lie where their base does.
        moves = unit.method.traits.copies_base and not self.ranks.shards
        return model.to(self.device) if moves else model

    def context(self, unit: UnitConfig) -> Callable[[], AbstractContextManager[None]]:
        """Returns what makes the autocast context of a unit's forward passes."""
        return partial(
            autocast, self.device, choose_precision(unit.model, unit.method, self.device)
        )

    def predict(self, config: RunConfig, eval_set: EvalSet, model: Any, writes: bool) -> Outputs:
        """Returns what ``TaskKind.score`` needs of a run's model.

        Args:
            config: The run's.
            eval_set: Of its task.
            model: Left in evaluation mode.
            writes: Whether it also writes responses, if a metric is to judge them.
        """
        unit = config.unit_config
        return run_eval_set(
            model,
            eval_set.features,
            self.collator(unit),
            self.tokenizer(unit),
            unit.task,
            writes=writes,
            batch_size=unit.training.evaluation_batch_size,
            device=self.device,
            context=self.context(unit),
        )


def prepare_machine(machine: MachineSettings, ranks: Ranks | None = None) -> WarmParts:
    """Sets this process's threads; returns what its engines share on the device."""
    torch.set_num_threads(machine.threads)
    ranks = ranks or Ranks()
    return WarmParts(choose_device(machine, ranks.rank), ranks, machine.checkpoint_minutes)
