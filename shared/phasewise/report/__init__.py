"""The report: what a study's records say, as one HTML page, Markdown and CSV."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from phasewise.report.build import VERDICT_FILE, build_report
    from phasewise.report.status import UnitStatus, collect_status

__all__ = ["VERDICT_FILE", "UnitStatus", "build_report", "collect_status"]


def __getattr__(name: str) -> Any:
    """Imports what is asked for: `phasewise status` shall not wait for the figures' libraries."""
    module = "build" if name in {"build_report", "VERDICT_FILE"} else "status"
    return getattr(import_module(f"phasewise.report.{module}"), name)
