"""What a study can detect: said before anything has run, and again once the noise is measured."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats
from typer.testing import CliRunner

from phasewise.cli.app import app
from phasewise.report.detection import Detection, describe_detection, find_detection
from phasewise.report.evidence import gather_evidence
from phasewise.settings import Study
from synthetic import UnitWriter, write_baselines

TASK = "rotten_tomatoes"
Writer = Callable[..., Study]


def _find(study: Study, wanted: float = 0.01) -> Detection:
    (task,) = gather_evidence(study, study.units_of("all"))
    found = find_detection(study, task, wanted)
    assert found is not None
    return found


def test_before_any_record_it_is_the_binomial_error(write_study: Writer) -> None:
    found = _find(write_study(validation={"seeds": 10}))
    assert (found.basis, found.examples, found.score) == ("assumed", 40, 0.8)
    factor = stats.norm.ppf(0.975) + stats.norm.ppf(0.8)
    assert found.detectable == pytest.approx(factor * np.sqrt(2 * 0.8 * 0.2 / 40), rel=1e-3)
    assert found.seeds_needed is None
    assert found.examples_needed == pytest.approx(factor**2 * 0.32 / 1e-4, rel=1e-3)


def test_after_phase_0_the_measured_noise_counts_too(write_study: Writer) -> None:
    study = write_study(validation={"seeds": 10})
    before = _find(study)
    for method in study.methods:
        UnitWriter(study, TASK, method).phase0([0.7, 0.72], [0.79, 0.81])
    write_baselines(study, TASK)
    after = _find(study)
    assert (after.basis, after.examples) == ("measured", 300)
    assert after.score == pytest.approx(0.8)
    assert after.seed_sd == pytest.approx(np.std([0.79, 0.81], ddof=1))
    assert before.detectable is not None
    assert after.detectable is not None
    assert after.detectable_seeds is not None
    assert after.detectable_seeds < after.detectable < before.detectable
    wide = _find(study, wanted=0.2)
    assert wide.seeds_needed is not None
    low, high, needs_examples = wide.seeds_needed
    assert low is not None
    assert low < 10
    assert high is None or high > low
    assert not needs_examples


def test_two_runs_of_phase_0_give_no_number_of_seeds(write_study: Writer) -> None:
    study = write_study(methods={"lora": {}}, validation={"seeds": 10})
    UnitWriter(study, TASK, "lora").phase0([0.7, 0.72], [0.79, 0.81])
    write_baselines(study, TASK)
    found = _find(study)
    assert found.seed_sd is not None
    assert found.seeds_needed is None
    assert "more seeds than two runs of Phase 0 can predict" in describe_detection(found)


def test_no_difference_beyond_the_scale_is_promised(write_study: Writer) -> None:
    study = write_study(validation={"seeds": 2})
    for method in study.methods:
        UnitWriter(study, TASK, method).phase0([0.1, 0.9], [0.1, 0.9])
    write_baselines(study, TASK)
    found = _find(study)
    assert (found.detectable, found.detectable_seeds) == (None, None)
    said = describe_detection(found)
    assert "2 seeds and 300 report examples detect no difference, at a score of 0.50" in said


def test_a_metric_that_is_no_mean_over_examples_is_left_out(
    write_study: Writer, study_content: dict[str, Any]
) -> None:
    content = {**study_content["tasks"][TASK], "metric": "matthews"}
    study = write_study(tasks={TASK: content})
    (task,) = gather_evidence(study, study.units_of("all"))
    assert find_detection(study, task) is None


def test_plan_answers_for_the_difference_asked(write_study: Writer) -> None:
    study = write_study(validation={"seeds": 10})
    done = CliRunner().invoke(app, ["plan", "--study", str(study.path), "--difference", "0.025"])
    assert done.exit_code == 0, done.output
    text = " ".join(done.output.split())
    assert "10 seeds and 40 report examples detect a difference of 0.251" in text
    assert "assuming a score of 0.80 and no noise from seeds, which Phase 0 will measure" in text
    # (1.95996 + 0.84162)^2 * 2 * 0.8 * 0.2 / 0.025^2 = 4018.6
    assert "a difference of 0.025 needs 4019 report examples at 10 seeds" in text
