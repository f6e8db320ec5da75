"""What tests of steps share."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from phasewise.runs import RunConfig, RunSeeds, build_unit
from phasewise.settings import Hyperparameters, MachineSettings, Study
from phasewise.training.interface import RunJob
from phasewise.training.kernels.library import use_kernels
from tiny_models import write_tiny_bert, write_tiny_decoder

_ROWS = {"train_rows": 30, "search_rows": 24, "max_length": 16, "splits": {"report_rows": 20}}


@pytest.fixture
def kernels() -> Iterator[None]:
    """Turns the compiled kernels on, where there is a compiler, in the one thread they are for."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    use_kernels(True)
    yield
    use_kernels(False)
    torch.set_num_threads(threads)


@pytest.fixture
def job_of(
    write_study: Callable[..., Study], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., RunJob]:
    """Runs of 30 rows in batches of 8: the last one of an epoch has 6, in micro-batches of 4."""
    monkeypatch.setenv("PHASEWISE_CACHE", str(tmp_path / "cache"))
    answers = [{"question": f"{n} plus {n}?", "answer": str(2 * n)} for n in range(80)]
    (tmp_path / "train.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in answers))
    instruction = {
        "kind": "instruction",
        "source": {"type": "files", "files": {"train": "train.jsonl"}},
        "prompt": {"template": "{question}\n"},
        "response": "answer",
        "metric": "eval_loss",
        **_ROWS,
        "max_length": 48,
        "splits": {"report": None, "report_rows": 8},
        "generation": {"max_new_tokens": 4, "report_metrics": ["rouge_l"]},
    }

    def build(
        name: str = "run",
        *,
        method: str = "lora",
        writes: bool = False,
        dtype: str = "float32",
        training: dict[str, Any] | None = None,
        keeps: bool = False,
        **hyperparameters: Any,
    ) -> RunJob:
        write = write_tiny_decoder if writes else write_tiny_bert
        study = write_study(
            model={"source": str(write(tmp_path / "model")), "dtype": dtype},
            tasks={"t": instruction} if writes else {"rotten_tomatoes": _ROWS},
            methods={method: {}},
            training={"micro_batch_size": 2, "evaluations_per_epoch": 2, **(training or {})},
        )
        values = {"learning_rate": 5e-3, "batch_size": 8, "epochs": 2, "lora_rank": 4}
        config = RunConfig(
            unit_config=build_unit(study, next(iter(study.tasks)), method),
            role="pilot",
            index=0,
            variant=name,
            hyperparameters=Hyperparameters(**{**values, **hyperparameters}),
            seeds=RunSeeds(init=1, order=2, subset=3),
            opens_report_set=keeps,
            keeps_model=keeps,
        )
        return RunJob(config, tmp_path / name, tmp_path / f"{name}.jsonl")

    return build


@pytest.fixture
def machines(tmp_path: Path) -> dict[str, MachineSettings]:
    (tmp_path / "fsdp.json").write_text("{}")
    two = {"device": "cpu", "gpus_per_run": 2}
    return {
        "DDP": MachineSettings(**two),
        "FSDP": MachineSettings(**two, fsdp_config=tmp_path / "fsdp.json"),
    }
