"""What the report rests on: runs and summaries of the present settings only."""

from collections.abc import Callable

from phasewise.report.evidence import gather_evidence
from phasewise.settings import Study
from synthetic import UnitWriter

TASK = "rotten_tomatoes"


def test_summaries_of_other_settings_are_named_with_their_command_and_not_used(
    write_study: Callable[..., Study],
) -> None:
    writer = UnitWriter(write_study(), TASK, "lora")
    writer.phase0([0.6, 0.62], [0.6, 0.61])
    writer.phase1([0.6, 0.7], confirm=[0.68, 0.69])
    writer.phase2([0.7, 0.72])
    edited = write_study(training={"max_grad_norm": 0.5})
    (task,) = gather_evidence(edited, [(TASK, "lora")])
    (unit,) = task.units
    assert (unit.phase0, unit.optimum, unit.phase2) == (None, None, None)
    assert unit.validation.mean is None
    notes = " ".join(unit.notes)
    for name, command in (("phase0.json", "defaults"), ("phase2.json", "validate")):
        assert f"{name} is of other settings; run: phasewise {command} --study" in notes
    assert "_optimal.yaml is of other settings; run: phasewise search" in notes


def test_more_seeds_make_only_phase_2_another(write_study: Callable[..., Study]) -> None:
    writer = UnitWriter(write_study(), TASK, "lora")
    writer.phase0([0.6, 0.62], [0.6, 0.61])
    writer.phase2([0.7, 0.72])
    (task,) = gather_evidence(write_study(validation={"seeds": 3}), [(TASK, "lora")])
    (unit,) = task.units
    assert unit.phase0 is not None
    assert unit.phase2 is None
    assert len(unit.validation.scores) == 2  # of the records, which are of the same settings
