"""How many runs train together: grown while it pays and memory allows, measured as runs train."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

#: Runs that start together: enough for the seeds of Phase 0 and the start of a search.
FIRST_SLOTS = 4
#: Passes at one size before its throughput is believed; the first of them is a warm-up.
_PASSES = 5
#: A larger pack must raise the tokens per second by this factor, or growing ends.
_WORTHWHILE = 1.03
#: Share of the memory still free that a larger pack may be expected to take.
_MEMORY_SHARE = 0.8


#: Of a checkpoint: the slots, and whether more were still being tried.
SlotState = dict[str, int | bool]


class Rate(NamedTuple):
    """One point of the throughput curve."""

    runs: int
    tokens_per_second: float


@dataclass(frozen=True)
class MemoryUse:
    """Bytes: what the runs under way have taken at their peak, and what is free besides."""

    taken: float
    free: float


class SlotMeter:
    """Doubles the slots as long as tokens per second rise and memory is left.

    Args:
        fixed: The slots, if they are not to be measured.
        measure: Tells the memory of the runs under way, as each size has been measured.

    Attributes:
        slots: Runs that train together.
        curve: What was measured, in order; evaluations are no part of it.
    """

    def __init__(self, fixed: int | None, measure: Callable[[], MemoryUse]) -> None:
        self.slots = fixed or FIRST_SLOTS
        self.curve: list[Rate] = []
        self._grows = fixed is None
        self._measure = measure
        self._passes = 0
        self._tokens, self._seconds = 0, 0.0

    def note(self, runs: int, tokens: int, seconds: float) -> None:
        """Takes a step of all runs; only those that fill all slots are measured.

        Args:
            runs: That took part.
            tokens: Of their micro-batches.
            seconds: Wall clock.
        """
        if not self._grows or runs < self.slots:
            return
        self._passes += 1
        if self._passes == 1:
            return
        self._tokens, self._seconds = self._tokens + tokens, self._seconds + seconds
        if self._passes == _PASSES:
            self._decide()

    def limit(self, runs: int) -> None:
        """Takes that memory holds this many runs, and no more."""
        self.slots, self._grows = max(1, min(self.slots, runs)), False

    @property
    def state(self) -> SlotState:
        """What ``restore`` takes, JSON."""
        return {"slots": self.slots, "grows": self._grows}

    def restore(self, state: SlotState) -> None:
        """Goes on with the slots that a run was saved with, if there is no measurement yet."""
        if self._grows and not self.curve:
            self.slots, self._grows = int(state["slots"]), bool(state["grows"])

    def _decide(self) -> None:
        rate = self._tokens / max(self._seconds, 1e-9)
        pays = not self.curve or rate >= _WORTHWHILE * self.curve[-1].tokens_per_second
        self.curve.append(Rate(self.slots, rate))
        memory = self._measure()
        # As many runs again would take as much again.
        self._grows = pays and memory.taken <= _MEMORY_SHARE * memory.free
        if self._grows:
            self.slots *= 2
        elif not pays:
            self.slots = self.curve[-2].runs
        self._passes, self._tokens, self._seconds = 0, 0, 0.0
