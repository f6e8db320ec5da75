"""Every kind of task has its module, and names that transformers and PEFT know."""

import re

import peft
import pytest
import transformers

from phasewise import tasks
from phasewise.settings import METRICS, TASK_KINDS, TaskKind, TaskTraits
from phasewise.tasks.kinds import KINDS

ROWS = list(TASK_KINDS.items())


@pytest.mark.parametrize("kind", KINDS)
def test_every_row_names_a_class_that_computes_all_of_it(kind: str) -> None:
    assert isinstance(KINDS[kind], tasks.kinds.TaskKind)
    assert {metric for metric in METRICS if kind in METRICS[metric].kinds}


@pytest.mark.parametrize(("kind", "traits"), ROWS)
def test_names_are_those_of_the_libraries(kind: TaskKind, traits: TaskTraits) -> None:
    assert KINDS[kind].auto_class == traits.auto_class
    assert hasattr(transformers, traits.auto_class)
    assert peft.TaskType(traits.peft_type).value == traits.peft_type


@pytest.mark.parametrize("field", ["auto_class", "architectures", "peft_type"])
def test_a_model_tells_its_kind(field: str) -> None:
    assert len({getattr(traits, field) for _, traits in ROWS}) == len(ROWS)


@pytest.mark.parametrize(("kind", "traits"), ROWS)
def test_architectures_end_as_the_class_says(kind: TaskKind, traits: TaskTraits) -> None:
    ending = re.sub("^AutoModel", "", traits.auto_class)
    assert traits.architectures[0] == ending
