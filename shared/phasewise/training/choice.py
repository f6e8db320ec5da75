"""Which engine trains a unit; known from its settings, without loading torch."""

from typing import Literal, NamedTuple

from phasewise.settings import MethodSettings, SearchSettings, TaskSettings, TrainingSettings
from phasewise.settings.objective import parse_objective

#: Costs that can only be attributed to a run if it trains alone.
_SHARED_COSTS = ("train_seconds", "memory_gb")

EngineName = Literal["packed", "trainer"]


class EngineChoice(NamedTuple):
    """An engine, and why it is not the packed one; empty if it is."""

    engine: EngineName
    obstacle: str = ""


def choose_engine(
    task: TaskSettings,
    method: MethodSettings,
    training: TrainingSettings,
    search: SearchSettings | None = None,
    devices: int = 1,
) -> EngineChoice:
    """Returns what trains a unit, as far as its settings tell.

    Whether a model's architecture can be packed is known only once it is loaded; if not, its runs
    train one by one and the unit's log says so.

    Args:
        task: The unit's.
        method: The unit's.
        training: The study's; ``training.engine`` may rule one out.
        search: The study's; None: it has been asked already.
        devices: ``machine.gpus_per_run``.
    """
    if training.engine == "trainer":
        return EngineChoice("trainer", "training.engine is trainer")
    if devices > 1:
        return EngineChoice("trainer", f"machine.gpus_per_run is {devices}: all of them train it")
    obstacle = find_obstacle(task, method, training) or (find_shared_cost(search) if search else "")
    return EngineChoice("trainer" if obstacle else "packed", obstacle)


def find_obstacle(task: TaskSettings, method: MethodSettings, training: TrainingSettings) -> str:
    """Returns why runs of a method on a task cannot train together, or nothing."""
    if not task.traits.packs:
        return f"the packed engine does not know the loss of {task.kind}"
    if training.gradient_checkpointing:
        return "training.gradient_checkpointing: the packed engine keeps all activations"
    if training.attention is not None:
        return f"training.attention is {training.attention}: the packed engine has one of its own"
    if training.optimizer != "adamw":
        return f"training.optimizer is {training.optimizer}: the packed engine knows adamw only"
    return method.traits.obstacle


def find_shared_cost(search: SearchSettings) -> str:
    """Returns what a search decides by that runs which train together share, or nothing."""
    if search.memory_constraint_gb is not None:
        return "search.memory_constraint_gb needs the memory of each run alone"
    _, names = parse_objective(search.objective)
    shared = [name for name in names if name in _SHARED_COSTS]
    return f"search.objective needs {shared[0]} of each run alone" if shared else ""


def needs_bitsandbytes(method: MethodSettings, training: TrainingSettings) -> bool:
    """Whether weights or moments are held in 8 bits or fewer."""
    return method.quantization != "none" or training.optimizer != "adamw"
