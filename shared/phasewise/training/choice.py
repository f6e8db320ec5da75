"""Which engine trains a unit; known from its settings, without loading torch."""

from typing import Literal, NamedTuple

from phasewise.settings import MethodSettings, TaskSettings, TrainingSettings

EngineName = Literal["packed", "trainer"]


class EngineChoice(NamedTuple):
    """An engine, and why it is not the packed one; empty if it is."""

    engine: EngineName
    obstacle: str = ""


def choose_engine(
    task: TaskSettings, method: MethodSettings, training: TrainingSettings
) -> EngineChoice:
    """Returns what trains a unit, as far as its settings tell.

    Whether a model's architecture can be packed is known only once it is loaded; if not, its runs
    train one by one and the worker's log says so.
    """
    if training.engine == "trainer":
        return EngineChoice("trainer", "training.engine is trainer")
    obstacle = find_obstacle(task, method)
    return EngineChoice("trainer" if obstacle else "packed", obstacle)


def find_obstacle(task: TaskSettings, method: MethodSettings) -> str:
    """Returns why runs of a method on a task cannot train together, or nothing."""
    if task.kind != "classification":
        return f"the packed engine does not know the loss of {task.kind}"
    if method.kind == "full":
        return "every weight trains, so runs share no base model"
    if method.quantization != "none":
        return f"a base in {method.quantization} is not packed"
    return ""
