"""A fixed list of runs that several controllers share: each is trained once, by one of them."""

from collections.abc import Sequence

from phasewise.records import Evaluation, RunRecord
from phasewise.training.assignment import measure_work
from phasewise.training.interface import Decision, RunJob
from phasewise.tuning.dispatch import OnEnded
from phasewise.tuning.run_records import adopt_record, find_record, set_late_record_aside
from phasewise.tuning.sharing import RunKey, SharedRuns
from phasewise.tuning.units import Session


class SharedJobs:
    """The jobs that are neither ended nor under way here.

    Args:
        session: What works on the unit.
        runs: The unit's, in the database.
        jobs: The list.
        ended: Called with the record of each run that was trained here now.
        recorded: Called with each record that was here before, or comes from elsewhere.
    """

    def __init__(
        self,
        session: Session,
        runs: SharedRuns,
        jobs: Sequence[RunJob],
        ended: OnEnded,
        recorded: OnEnded,
    ) -> None:
        self._say, self._runs = session.progress.write, runs
        self._ended, self._recorded = ended, recorded
        self._left = sorted(jobs, key=measure_work, reverse=True)

    def waits(self) -> bool:
        """Whether others train some of them."""
        return bool(self._left)

    def next(self) -> RunJob | None:
        """Returns a job to train, claimed; takes what others have ended."""
        states = self._runs.states()
        for job in list(self._left):
            key = _key(job)
            state = states.get(key, "free")
            if state == "ended":
                self._left.remove(job)
                record = self._runs.read(key)
                adopt_record(job.folder, record, self._say)
                self._recorded(job, record)
            elif state == "free" and self._runs.claim(key):
                self._left.remove(job)
                found = find_record(job, self._say)
                if found is None:
                    return job
                self._give(job, found, self._recorded)
        return None

    def end(self, job: RunJob, record: RunRecord) -> None:
        """Takes the record of a run that was trained here."""
        self._give(job, record, self._ended)

    def evaluate(self, job: RunJob, _: Evaluation) -> Decision:
        """Goes on, unless another has taken the run over."""
        return "prune" if self._runs.is_lost(_key(job)) else "continue"

    def _give(self, job: RunJob, record: RunRecord, told: OnEnded) -> None:
        """Gives a record; a failed run is given back, for any controller to try again."""
        if record.status == "failed":
            self._runs.release(_key(job))
            told(job, record)
        elif self._runs.commit(_key(job), record):
            told(job, record)
        else:
            set_late_record_aside(job.folder, self._say)
            self._left.append(job)


def _key(job: RunJob) -> RunKey:
    return RunKey(f"{job.config.phase}/{job.config.name}", job.config.hash)
