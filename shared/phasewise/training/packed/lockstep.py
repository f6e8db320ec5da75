"""Brings each run of a pack one micro-batch on, in as many passes as memory and caches ask for."""

from collections.abc import Callable, Sequence
from time import perf_counter

from phasewise.errors import InfeasibleRunError
from phasewise.training.device import is_out_of_memory, release_memory
from phasewise.training.failures import explain_failure
from phasewise.training.packed.forward import RunStep, compute_steps, take_pass
from phasewise.training.packed.layout import CannotPackError
from phasewise.training.packed.model import PackedModel
from phasewise.training.packed.run import PackedRun
from phasewise.training.packed.slots import SlotMeter
from phasewise.training.warm import WarmParts

#: Why a run leaves a pack.
OUT_OF_MEMORY = "out of memory"


def advance(
    packed: PackedModel, runs: Sequence[PackedRun], meter: SlotMeter, warm: WarmParts
) -> None:
    """Computes the gradients of each run's next micro-batch and hands them to it.

    Args:
        packed: The pack's model.
        runs: None of them ended. Some may be afterwards, by an error of their own.
        meter: Says how many runs fit in a pass, and learns what this one took.
        warm: What makes batches of features.
    """
    waiting, clock, tokens, size = list(runs), perf_counter(), 0, meter.slots
    while waiting:
        started = perf_counter()
        group = take_pass(waiting[:size], packed.most_tokens(waiting[0].member))
        try:
            steps = compute_pass(packed, group, warm)
        except Exception as error:
            size = _make_way(group, error, meter, warm)
            waiting = [run for run in waiting if not _has_left(run)]
            continue
        seconds, passed = perf_counter() - started, sum(step.tokens for step in steps)
        for run, step in zip(group, steps, strict=True):
            _take_step(run, step, seconds * step.tokens / passed)
        tokens += passed
        waiting = waiting[len(group) :]
    meter.note(len(runs), tokens, perf_counter() - clock)


def compute_pass(packed: PackedModel, group: Sequence[PackedRun], warm: WarmParts) -> list[RunStep]:
    """Returns what each run gets of one forward and backward pass over all their batches."""
    unit = group[0].job.config.unit_config
    return compute_steps(packed, group, warm.collator(unit), warm.device, warm.context(unit))


def settle_error(run: PackedRun, error: Exception) -> None:
    """Notes how an error of a run's own ends it: diverged, failed, or alone from the start.

    Raises:
        ControllerGoneError: See ``explain_failure``; so is a lost device.
    """
    if isinstance(error, InfeasibleRunError):
        run.training.status, run.training.message = "diverged", str(error)
    elif is_out_of_memory(error):
        run.leaves = OUT_OF_MEMORY
    elif isinstance(error, CannotPackError):
        run.leaves = str(error)
    else:
        run.training.status, run.training.message = "failed", explain_failure(run.job, error)


def charge(run: PackedRun, share: float, work: Callable[[], None]) -> None:
    """Does a run's own work; notes how it ends if that raises, and what it took.

    Args:
        run: Whose it is.
        share: Seconds that it owes for what was done for all.
        work: Raises what is the run's own error.
    """
    clock = perf_counter()
    try:
        work()
    except Exception as error:
        settle_error(run, error)
    seconds = share + perf_counter() - clock
    run.own_seconds += seconds
    run.training.train_seconds += seconds


def _take_step(run: PackedRun, step: RunStep, share: float) -> None:
    charge(run, share, lambda: run.take(step.loss, step.grads, step.tokens))


def _has_left(run: PackedRun) -> bool:
    """Whether a run takes no further step in its pack."""
    return bool(run.leaves) or run.training.status != "finished"


def _make_way(
    group: Sequence[PackedRun], error: Exception, meter: SlotMeter, warm: WarmParts
) -> int:
    """Returns how many runs to try in a pass after one has raised; no run has moved.

    Memory that ran out halves the pass for good. Another error is some run's own: they are
    tried one by one, so that it costs no other.
    """
    if len(group) == 1:
        settle_error(group[0], error)
    if not is_out_of_memory(error):
        return 1
    release_memory(warm.device)
    meter.limit(len(group) // 2)
    return meter.slots
