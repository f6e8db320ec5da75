"""A study's results as pandas tables: ``phasewise.load("my.yaml").trials()``.

Columns are those of the CSV files that the report writes; records are read anew by each call, so
that a table of a running study grows.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from phasewise.report.columns import Row, Table, flatten_rows
from phasewise.report.evidence import TaskEvidence, gather_evidence
from phasewise.report.traces import tabulate_runs, trace_tasks
from phasewise.report.unit_table import build_unit_rows, build_unit_table
from phasewise.report.verdict_table import build_verdict_table
from phasewise.report.verdicts import count_comparisons, judge_tasks
from phasewise.settings import ALL_SHARD, Study, load_study

if TYPE_CHECKING:
    import pandas as pd


class StudyResults:
    """What a study's runs have left so far; scores are on the task's own scale.

    Args:
        study: The study.
        vm: A shard; ``all``: every unit.

    Raises:
        ConfigError: The shard is not of the study.
    """

    def __init__(self, study: Study, vm: str = ALL_SHARD) -> None:
        self.study = study
        self._units = study.units_of(vm)

    def runs(self) -> "pd.DataFrame":
        """Returns a row per run of any phase and status, with a column per hyperparameter.

        Cells are empty where a hyperparameter has no effect on the method; ``record`` is the path
        of the run's ``record.json``.
        """
        traces = trace_tasks(self.study, self._gather())
        table = _frame(tabulate_runs([run for trace in traces for run in trace.runs]))
        if len(table):
            folder = self.study.settings.analysis_path
            table["record"] = [os.path.normpath(folder / unquote(each)) for each in table["record"]]
        return table

    def trials(self) -> "pd.DataFrame":
        """Returns the rows of ``runs()`` that Phase 1's search drew, without its confirmations."""
        runs = self.runs()
        return runs[runs["role"] == "trial"].reset_index(drop=True) if len(runs) else runs

    def units(self) -> "pd.DataFrame":
        """Returns a row per unit: what its optimum reached in each phase, and at what cost."""
        tasks = self._gather()
        return _frame(build_unit_table(tasks, build_unit_rows(self.study, tasks)))

    def verdicts(self) -> "pd.DataFrame":
        """Returns a row per task and pair of methods: difference, interval, p after Holm, verdict.

        Pairs are there as soon as both methods have been validated on a task.
        """
        import pandas as pd

        return pd.DataFrame(self.verdict_rows())

    def verdict_rows(self) -> list[dict[str, object]]:
        """Returns the rows of ``verdicts()`` without pandas."""
        table = build_verdict_table(judge_tasks(self._gather(), count_comparisons(self.study)))
        return flatten_rows(table.columns, table.rows)

    def _gather(self) -> Sequence[TaskEvidence]:
        return gather_evidence(self.study, self._units)


def load_results(path: Path | str, vm: str = ALL_SHARD) -> StudyResults:
    """Returns a study's results; see ``phasewise.load``."""
    return StudyResults(load_study(path), vm)


def _frame(table: Table[Row]) -> "pd.DataFrame":
    import pandas as pd

    return pd.DataFrame(flatten_rows(table.columns, table.rows))
