"""The report: what a study's records say, as one HTML page, Markdown and CSV."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from phasewise.report.build import build_report
    from phasewise.report.status import UnitStatus, collect_status

__all__ = ["UnitStatus", "build_report", "collect_status"]


def __getattr__(name: str) -> Any:
    """Imports what is asked for: `phasewise status` shall not wait for the figures' libraries."""
    module = "build" if name == "build_report" else "status"
    return getattr(import_module(f"phasewise.report.{module}"), name)
