"""What each kind of task computes: the classes that rows of ``settings.kinds`` name."""

from collections.abc import Sequence
from importlib import import_module
from typing import Any, Protocol, runtime_checkable

from phasewise.settings import TASK_KINDS, TaskSettings
from phasewise.tasks.examples import EvalSet, Example, Feature, Outputs, Scored
from phasewise.tasks.table import RowTable


@runtime_checkable
class TaskKind(Protocol):
    """What differs between kinds of tasks; implementations hold no state."""

    auto_class: str
    """Name of the transformers class that loads a model for it."""

    def model_kwargs(self, task: TaskSettings) -> dict[str, Any]:
        """Returns the arguments that ``auto_class.from_pretrained`` needs for the task."""
        ...

    def parse(self, task: TaskSettings, split: str, table: RowTable) -> list[Example]:
        """Returns the rows checked and typed; ids are unique within the split.

        Raises:
            DataError: A row is not what the task says; the message names file, line and column.
        """
        ...

    def texts_apart(self, example: Example) -> tuple[str, ...]:
        """Returns what must not be in two sets: each text, the context, or the prompt."""
        ...

    def tokenize_train(
        self, examples: Sequence[Example], tokenizer: Any, task: TaskSettings
    ) -> list[Feature]:
        """Returns model inputs with targets; at least one per example, in order."""
        ...

    def tokenize_eval(
        self, examples: Sequence[Example], tokenizer: Any, task: TaskSettings
    ) -> EvalSet:
        """Returns the set ready to be run through a model and scored."""
        ...

    def score(
        self,
        task: TaskSettings,
        eval_set: EvalSet,
        outputs: Outputs,
        threshold: float | None = None,
    ) -> Scored:
        """Returns metrics of ``settings.metrics_of``, the task's among them, and predictions.

        Args:
            task: The task.
            eval_set: From ``tokenize_eval``.
            outputs: What the model returned for its features, in order.
            threshold: For the report set: ``Scored.threshold`` of the search set.

        Raises:
            InfeasibleRunError: A logit or loss is not finite: the run diverged.
        """
        ...


def _load(implementation: str) -> TaskKind:
    module, name = implementation.split(".")
    kind: TaskKind = getattr(import_module(f"phasewise.tasks.{module}"), name)()
    return kind


#: Name of a kind to its implementation.
KINDS: dict[str, TaskKind] = {
    name: _load(traits.implementation) for name, traits in TASK_KINDS.items()
}


def get_kind(task: TaskSettings) -> TaskKind:
    """Returns the implementation of a task's kind."""
    return KINDS[task.kind]
