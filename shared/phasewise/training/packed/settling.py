"""Hands runs what a pass gave them, and notes how an error of a run's own ends it."""

from time import perf_counter

from phasewise.errors import InfeasibleRunError
from phasewise.training.device import is_out_of_memory
from phasewise.training.failures import explain_failure
from phasewise.training.packed.forward import RunStep
from phasewise.training.packed.layout import CannotPackError
from phasewise.training.packed.run import PackedRun

#: Why a run leaves a pack.
OUT_OF_MEMORY = "out of memory"


def take_step(run: PackedRun, step: RunStep, share: float) -> None:
    """Hands a run its gradients and its share of the time; notes how it ends if it does."""
    clock = perf_counter()
    try:
        run.take(step.loss, step.grads, step.tokens)
    except Exception as error:
        settle_error(run, error)
    seconds = share + perf_counter() - clock
    run.own_seconds += seconds
    run.attempt.train_seconds += seconds


def settle_error(run: PackedRun, error: Exception) -> None:
    """Notes how an error of a run's own ends it: diverged, failed, or alone from the start.

    Raises:
        ControllerGoneError: See ``explain_failure``; so is a lost device.
    """
    if isinstance(error, InfeasibleRunError):
        run.attempt.status, run.attempt.message = "diverged", str(error)
    elif is_out_of_memory(error):
        run.leaves = OUT_OF_MEMORY
    elif isinstance(error, CannotPackError):
        run.leaves = str(error)
    else:
        run.attempt.status, run.attempt.message = "failed", explain_failure(run.job, error)


def has_left(run: PackedRun) -> bool:
    """Whether a run takes no further step in its pack."""
    return bool(run.leaves) or run.attempt.status != "finished"
