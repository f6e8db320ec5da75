"""Everything the report shows, ready to be laid out; HTML and Markdown render the same value."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from phasewise.figures import MethodStyle, assign_styles
from phasewise.report.answer import answer_study
from phasewise.report.columns import Table
from phasewise.report.detection import describe_detection, find_detection
from phasewise.report.drawing import Drawing, draw_figures
from phasewise.report.evidence import TaskEvidence, gather_evidence
from phasewise.report.figure_list import STUDY_FIGURES, TASK_FIGURES
from phasewise.report.findings import TaskFinding, find_overall, find_task
from phasewise.report.first_notes import list_first
from phasewise.report.machines import UnitMachines, build_machine_table
from phasewise.report.noise_table import NoiseRow, build_noise_table
from phasewise.report.pair_traces import PairTrace, trace_pairs
from phasewise.report.paper import Paper, build_paper
from phasewise.report.paper_tables import build_latex_tables
from phasewise.report.reproduction import Reproduction, describe_reproduction
from phasewise.report.run_tables import (
    PhaseRuns,
    UnitCriterion,
    build_count_table,
    build_criteria_table,
    build_ledger_table,
)
from phasewise.report.sections import UnitSection, build_unit_section
from phasewise.report.traces import RunRow, TaskTrace, tabulate_runs, trace_tasks
from phasewise.report.unit_table import UnitRow, build_unit_rows, build_unit_table
from phasewise.report.verdict_table import build_verdict_table
from phasewise.report.verdicts import Verdict, count_comparisons, judge_tasks
from phasewise.settings import Study


@dataclass(frozen=True)
class ReportContent:
    """The report before it is laid out."""

    name: str
    description: str
    scope: str  # how many tasks, methods and runs, in words
    findings: tuple[TaskFinding, ...]
    comparisons: int  # that the study plans, and its corrections count
    verdict_table: Table[Verdict]
    task_drawings: Mapping[str, tuple[Drawing, ...]]  # task to its figures
    styles: Mapping[str, MethodStyle]
    unit_table: Table[UnitRow]
    noise_table: Table[NoiseRow]
    detections: tuple[str, ...]  # what each task can detect, in words
    criteria_table: Table[UnitCriterion]
    count_table: Table[PhaseRuns]
    ledger_table: Table[TaskEvidence]
    sections: tuple[UnitSection, ...]
    answer: tuple[str, ...]  # what to use, in one line; of several tasks one more for each
    overview: Drawing | None  # every method beside what needs no training
    notes: tuple[str, ...]  # to be read first
    left_out: tuple[str, ...]  # files of other settings, or that cannot be read
    data_notes: tuple[str, ...]
    reproduction: Reproduction
    machine_table: Table[UnitMachines]
    traces: tuple[TaskTrace, ...]  # every run with its record
    pair_traces: tuple[PairTrace, ...]  # every verdict with its runs
    verdicts: tuple[Verdict, ...]
    latex_tables: Mapping[str, str]  # file stem to content
    paper: Paper

    @property
    def drawings(self) -> list[tuple[str, Drawing]]:
        """All figures with what they are about, in the order of the page."""
        first = [] if self.overview is None else [(self.name, self.overview)]
        found = [(task, each) for task, drawings in self.task_drawings.items() for each in drawings]
        units = [(f"{section.task} / {section.method}", section) for section in self.sections]
        found += [(name, each) for name, section in units for each in section.drawings]
        return first + found

    @property
    def run_table(self) -> Table[RunRow]:
        """Every run of the study, for the CSV."""
        return tabulate_runs([run for task in self.traces for run in task.runs])


def gather_content(study: Study, units: Sequence[tuple[str, str]]) -> ReportContent:
    """Reads the records of the given units and works out everything that the report shows."""
    tasks = gather_evidence(study, units)
    found = [unit for task in tasks for unit in task.units]
    styles = assign_styles(study.methods)
    rows = build_unit_rows(study, tasks)
    drawings = {task.task: draw_figures(TASK_FIGURES, task, styles, (task.task,)) for task in tasks}
    sections = [
        build_unit_section(study, unit, styles[unit.method], row.state)
        for unit, row in zip(found, rows, strict=True)
    ]
    overviews = draw_figures(STUDY_FIGURES, tasks, styles, (study.settings.name,))
    planned = count_comparisons(study)
    verdicts = judge_tasks(tasks, planned)
    overall = find_overall(tasks, verdicts)
    findings = [find_task(study, task, verdicts) for task in tasks]
    return ReportContent(
        name=study.settings.name,
        description=study.settings.description,
        scope=_describe_scope(study, tasks),
        findings=(*filter(None, [overall]), *findings),
        comparisons=planned,
        verdict_table=build_verdict_table(verdicts),
        task_drawings=drawings,
        styles=styles,
        unit_table=build_unit_table(tasks, rows),
        noise_table=build_noise_table(study, tasks),
        detections=tuple(
            describe_detection(each) for t in tasks if (each := find_detection(study, t))
        ),
        criteria_table=build_criteria_table(found),
        count_table=build_count_table(found),
        ledger_table=build_ledger_table(tasks),
        sections=tuple(sections),
        answer=answer_study(study, tasks, verdicts, rows),
        overview=next(iter(overviews), None),
        notes=tuple(list_first(study, tasks, planned)),
        left_out=tuple(note for unit in found for note in unit.notes),
        data_notes=tuple(note for task in tasks for note in task.data_notes),
        reproduction=describe_reproduction(study, tasks),
        machine_table=build_machine_table(study, found),
        traces=trace_tasks(study, tasks),
        pair_traces=trace_pairs(tasks, verdicts),
        verdicts=verdicts,
        latex_tables=build_latex_tables(study.settings.name, rows, verdicts),
        paper=build_paper(study, tasks, verdicts),
    )


def _describe_scope(study: Study, tasks: Sequence[TaskEvidence]) -> str:
    units = [unit for task in tasks for unit in task.units]
    runs = sum(len(records) for unit in units for records in unit.records.values())
    methods = len({unit.method for unit in units})
    return f"{_count(len(tasks), 'task')}, {_count(methods, 'method')}, {_count(runs, 'run')}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
