"""The base model of an instruction task before any fine-tuning: its zero-shot scores."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from phasewise.methods.models import load_base_model, load_tokenizer
from phasewise.settings import StudySettings, TaskSettings
from phasewise.tasks.collation import build_collator
from phasewise.tasks.examples import EvalSet, Scored
from phasewise.tasks.kinds import get_kind
from phasewise.training.device import autocast, choose_precision
from phasewise.training.responses import answer_prompts


def score_untuned(
    study: StudySettings, task: TaskSettings, eval_sets: Sequence[EvalSet], device: torch.device
) -> list[Scored]:
    """Returns the base model's scores on each set, with every metric that the task asks for.

    Args:
        study: Names the model, its precision and the rows of a pass.
        task: The task.
        eval_sets: From ``Instruction.tokenize_eval``.
        device: Where the model runs; weights in float32, products as in the runs.

    Raises:
        ConfigError: The model cannot be loaded.
        InfeasibleRunError: Its loss is not finite.
    """
    kind, tokenizer = get_kind(task), load_tokenizer(study.model)
    model = load_base_model(
        study.model,
        auto_class=kind.auto_class,
        kwargs=kind.model_kwargs(task),
        tokenizer=tokenizer,
        device=device,
    ).model
    context: Callable[[], Any] = partial(
        autocast, device, choose_precision(study.model, None, device)
    )
    scores = []
    for eval_set in eval_sets:
        outputs = answer_prompts(
            model,
            eval_set.features,
            build_collator(tokenizer),
            tokenizer,
            task,
            writes=True,
            batch_size=study.training.evaluation_batch_size,
            device=device,
            context=context,
        )
        scores.append(kind.score(task, eval_set, outputs))
    return scores
