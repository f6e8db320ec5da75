"""What several devices change about training one run: each takes its share of every batch.

All ranks draw the same rows in the same order and count the targets of the whole batch, so that a
run's batches, steps and losses are those of one process, whatever the number of ranks.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any

import torch
from accelerate.state import PartialState
from accelerate.utils import DistributedType
from transformers import TrainingArguments

from phasewise.tasks.examples import Feature
from phasewise.training.prediction import Collate
from phasewise.training.ranks import Ranks

#: In a batch: targets and tokens of the whole of it; whether the rows are this rank's own.
WHOLE, IS_OWN = "whole", "is_own"
Count = Callable[[dict[str, torch.Tensor]], tuple[int, torch.Tensor]]


def share_batches(collate: Collate, ranks: Ranks, count: Count) -> Callable[[Any], dict[str, Any]]:
    """Returns what makes a rank's share of the rows that all ranks are given.

    Rows are padded as in the whole batch, which a loss over positions depends on. A rank for which
    no row is left computes another's, without weight: the others wait for its gradients.

    Args:
        collate: Makes a batch of features.
        ranks: This process among the others.
        count: Targets and tokens of a batch; may take entries out of it.
    """

    def _collate(features: Sequence[Feature]) -> dict[str, Any]:
        whole = collate(features)
        counts = count(whole)
        places = list(range(ranks.rank, len(features), ranks.devices))
        chosen = places or [0]
        if all(len(tensor) == len(features) for tensor in whole.values()):
            mine = {name: tensor[chosen] for name, tensor in whole.items()}
        else:  # packed: several features in a row
            mine = collate([features[place] for place in chosen])
            count(mine)
        return {**mine, WHOLE: counts, IS_OWN: bool(places)}

    return _collate


def choose_strategy(ranks: Ranks, model: Any, *, checkpoints_activations: bool) -> dict[str, Any]:
    """Returns the arguments of ``TrainingArguments`` that say how ranks share a model.

    Args:
        ranks: This process among the others.
        model: What they will train.
        checkpoints_activations: ``training.gradient_checkpointing``.
    """
    recompute: dict[str, Any] = {
        "activation_checkpointing": checkpoints_activations,
        "activation_checkpointing_kwargs": {"use_reentrant": False},  # else frozen inputs stop it
    }
    if ranks.fsdp_config is not None:
        config = json.loads(ranks.fsdp_config.read_text(encoding="utf-8"))
        if checkpoints_activations:
            config["activation_checkpointing"] = True
        if not any("wrap" in key for key in config) and (names := _list_blocks(model)):
            config["transformer_layer_cls_to_wrap"] = names
        return {"fsdp": True, "fsdp_config": config}
    if ranks.deepspeed_config is not None:
        return {**recompute, "deepspeed": str(ranks.deepspeed_config)}
    if ranks.devices > 1:
        recompute["ddp_find_unused_parameters"] = not checkpoints_activations
    return recompute


def let_cpus_shard(arguments: TrainingArguments) -> None:
    """Has accelerate shard a model on CPUs too, which version 1.15 does on accelerators only."""
    if arguments.fsdp and arguments.device.type == "cpu":
        PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU


def _list_blocks(model: Any) -> list[str]:
    """Returns the classes of a transformers model's blocks, the embeddings' left out.

    accelerate 1.15 shards the input embeddings by themselves, and fails where their class is among
    the blocks already (BERT's is).
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    embeddings = base.get_input_embeddings()
    holders = {
        type(module).__name__
        for module in base.modules()
        if any(part is embeddings for part in module.modules())
    }
    return sorted(set(base._no_split_modules or ()) - holders)
