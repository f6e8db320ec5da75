"""The report: what a study's records say, as one HTML page, Markdown and CSV."""

from phasewise.report.build import build_report
from phasewise.report.status import UnitStatus, collect_status

__all__ = ["UnitStatus", "build_report", "collect_status"]
