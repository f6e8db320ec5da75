"""What a paper needs of a study: methods paragraph, reproducibility checklist, BibTeX."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from phasewise.report.checklist import CHECKLIST_COLUMNS, ChecklistItem, fill_checklist
from phasewise.report.citations import collect_bibtex, list_citations, list_uncited
from phasewise.report.columns import Table
from phasewise.report.evidence import TaskEvidence
from phasewise.report.latex import escape_latex
from phasewise.report.methods_text import write_methods
from phasewise.report.verdicts import Verdict
from phasewise.settings import Study

#: Cited by the report itself, not by the methods paragraph.
_CHECKLIST_KEY = "pineau2021improving"


@dataclass(frozen=True)
class Paper:
    """Ready to paste."""

    methods: str  # pandoc citations
    checklist: Table[ChecklistItem]
    bibtex: str
    uncited: tuple[str, ...]  # used, but no work to cite is known

    @property
    def methods_latex(self) -> str:
        """The methods paragraph with ``\\cite``."""
        parts = re.split(r" \[(@[^\]]+)\]", self.methods)  # text, citation, text, ...
        return "".join(
            _cite(part) if part.startswith("@") else escape_latex(part) for part in parts
        )


def build_paper(study: Study, tasks: Sequence[TaskEvidence], verdicts: Sequence[Verdict]) -> Paper:
    """Returns the texts of a paper as far as the study's files go."""
    methods = write_methods(study, tasks, verdicts)
    return Paper(
        methods=methods,
        checklist=Table(CHECKLIST_COLUMNS, fill_checklist(study, tasks, verdicts)),
        bibtex=collect_bibtex(sorted({*list_citations(methods), _CHECKLIST_KEY})),
        uncited=tuple(list_uncited(study)),
    )


def _cite(group: str) -> str:
    keys = ",".join(key.strip().removeprefix("@") for key in group.split(";"))
    return rf"~\cite{{{keys}}}"
