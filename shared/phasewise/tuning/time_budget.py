"""When a search that has only so much time stops drawing, so that it ends within that time."""

from phasewise.tuning.progress import Clock

_SECONDS_PER_HOUR = 3600.0
#: Confirmations may take up to this share of the budget, whatever their number.
_CONFIRMED_SHARE = 1 / 3


class TimeBudget:
    """Expects a run to take what the runs before it took, those beside it included.

    Args:
        hours: ``search.time_budget_hours``; None: no limit.
        clock: Counts since the budget began.
        runs: Runs that have ended since then.
    """

    def __init__(self, hours: float | None, clock: Clock, runs: int) -> None:
        self._seconds = None if hours is None else hours * _SECONDS_PER_HOUR
        self._clock = clock
        self._runs = runs

    @property
    def left(self) -> float | None:
        """Seconds that are left, negative if it is overspent; None without a limit."""
        return None if self._seconds is None else self._seconds - self._clock.seconds

    def note_end(self) -> None:
        """Counts a run that has ended."""
        self._runs += 1

    def has_room(self, ended: int, under_way: int, confirmations: int) -> bool:
        """Whether one more trial would end in time, and leave time to confirm the best.

        The first one always has: a search without a trial is of no use to anybody.

        Args:
            ended: Trials that have ended.
            under_way: Trials that have begun; half done on average.
            confirmations: Runs that follow the last trial.
        """
        if self._seconds is None or self.left is None or ended + under_way == 0:
            return True
        if self.left <= 0 or self._runs == 0:
            return self.left > 0
        pace = self._pace(under_way)
        kept = min(pace * confirmations, self._seconds * _CONFIRMED_SHARE)
        return pace * (under_way / 2 + 1) + kept <= self.left

    def confirmed(self, finished: int, wanted: int, seeds: int) -> int:
        """Returns how many of the best trials can still be confirmed.

        At least one, to choose by, unless the time is over and there is no choice.

        Args:
            finished: Trials to choose from.
            wanted: As many as are confirmed if there is time.
            seeds: Runs of each.
        """
        if self.left is None or self._runs == 0:
            return wanted
        affordable = int(self.left / (self._pace(0) * seeds))
        return max(1 if finished > 1 else 0, min(wanted, affordable))

    def _pace(self, under_way: int) -> float:
        """Returns seconds per run; runs that train at once share them."""
        return self._clock.seconds / (self._runs + under_way / 2)
