import os
import random

import numpy as np
import pytest
import torch
from transformers import set_seed

from phasewise.settings import MachineSettings, MethodSettings, ModelSettings
from phasewise.training.device import (
    Precision,
    choose_device,
    choose_precision,
    is_out_of_memory,
    peak_memory_mb,
    reset_peak_memory,
    seed_draws,
)
from phasewise.training.hardware import describe_crowding, find_gpus

_CPU = torch.device("cpu")


def _method(kind: str) -> MethodSettings:
    return MethodSettings(name="m", kind=kind, space="s", source="s", defaults={})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("dtype", "kind", "expected"),
    [
        ("float32", "full", Precision(torch.float32, torch.float32)),
        ("bfloat16", "full", Precision(torch.float32, torch.bfloat16)),
        ("bfloat16", "lora", Precision(torch.bfloat16, torch.bfloat16)),
    ],
)
def test_trained_weights_are_never_half(dtype: str, kind: str, expected: Precision) -> None:
    model = ModelSettings(source="x", dtype=dtype)  # type: ignore[arg-type]
    assert choose_precision(model, _method(kind), _CPU) == expected


@pytest.mark.parametrize(
    ("able", "used", "products"),
    [
        (True, "AVX512", torch.bfloat16),
        (False, "AVX512", torch.float32),
        (True, "AVX2", torch.float32),  # masked: bfloat16 would be emulated
    ],
)
def test_auto_is_bfloat16_where_the_processor_computes_in_it(
    monkeypatch: pytest.MonkeyPatch, able: bool, used: str, products: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": able})
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: used)
    model = ModelSettings(source="x", dtype="auto")
    assert choose_precision(model, _method("full"), _CPU).products == products


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes"), True),
        (MemoryError(), True),
        (RuntimeError("shape mismatch"), False),
        (ValueError("DefaultCPUAllocator: can't allocate"), False),
    ],
)
def test_only_memory_errors_count_as_such(error: BaseException, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


def test_an_impossible_allocation_on_this_cpu_is_recognized() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)


def test_the_peak_is_that_since_the_last_reset() -> None:
    torch.ones(40_000_000)  # 160 MB, freed at once
    high = peak_memory_mb(_CPU)
    reset_peak_memory(_CPU)
    low = peak_memory_mb(_CPU)
    assert low < high - 100
    kept = torch.ones(40_000_000)
    assert peak_memory_mb(_CPU) - low == pytest.approx(160, abs=20)
    del kept


@pytest.mark.parametrize(
    ("visible", "expected"), [("", []), ("-1", []), ("2,3", ["2", "3"]), ("GPU-ab", ["GPU-ab"])]
)
def test_workers_get_the_visible_gpus(
    monkeypatch: pytest.MonkeyPatch, visible: str, expected: list[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert find_gpus(MachineSettings()) == expected
    assert find_gpus(MachineSettings(device="cpu")) == []
    assert choose_device(MachineSettings(device="cpu")) == _CPU


@pytest.mark.parametrize(
    ("workers", "gpus", "expected"),
    [
        (4, "0,1,2,3", ""),
        (None, "0", ""),
        (3, "0,1", "3 workers share 2 GPUs: they slow each other down"),
        (2, "5", "2 workers share 1 GPU: they slow each other down"),
        (2, "", ""),
        (3, "", "3 threads of 3 workers share 2 CPU cores (no GPU): they slow each other down"),
    ],
)
def test_workers_that_share_a_device_are_told(
    monkeypatch: pytest.MonkeyPatch, workers: int | None, gpus: str, expected: str
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    assert describe_crowding(MachineSettings(workers=workers)) == expected


def test_draws_are_those_of_transformers_seed() -> None:
    set_seed(7)
    expected = random.random(), np.random.random(), torch.rand(1)
    seed_draws(7, _CPU)
    assert (random.random(), np.random.random(), torch.rand(1)) == expected
