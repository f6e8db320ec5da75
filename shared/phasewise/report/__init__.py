"""The report: what a study's records say, as one HTML page, Markdown and CSV."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from phasewise.report.build import build_report
    from phasewise.report.status import UnitStatus, collect_status

__all__ = ["UnitStatus", "build_report", "collect_status"]


def __getattr__(name: str) -> Any:
    """Imports what is asked for: `phasewise status` shall not wait for the figures' libraries."""
    if name == "build_report":
        from phasewise.report.build import build_report

        return build_report
    from phasewise.report import status

    return getattr(status, name)
