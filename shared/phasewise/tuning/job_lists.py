"""A fixed list of runs: trained here, or by all controllers that share them, each run once."""

from collections.abc import Sequence

from phasewise.training.interface import RunJob
from phasewise.tuning.dispatch import OnEnded
from phasewise.tuning.run_records import find_record
from phasewise.tuning.units import Session


def run_jobs(
    session: Session, jobs: Sequence[RunJob], *, ended: OnEnded, recorded: OnEnded
) -> None:
    """Runs jobs to their ends, but for those on record.

    Args:
        session: What works on the unit.
        jobs: The runs; of shared ones some are trained elsewhere.
        ended: Called with the record of each run that was trained here now.
        recorded: Called with each record that was here before, or comes from elsewhere.
    """
    say = session.progress.write
    if session.shared is not None:
        from phasewise.tuning.shared_jobs import SharedJobs  # a database's library

        shared = SharedJobs(session, session.shared, jobs, ended, recorded)
        session.dispatcher.run(
            shared.next,
            ended=shared.end,
            evaluated=shared.evaluate,
            started=lambda job: say(f"{job.config.name} starts"),
            waits=shared.waits,
        )
        return
    missing = []
    for job in jobs:
        record = find_record(job, say)
        if record is None:
            missing.append(job)
        else:
            recorded(job, record)
    session.dispatcher.run_all(missing, ended=ended, evaluated=lambda *_: "continue")
