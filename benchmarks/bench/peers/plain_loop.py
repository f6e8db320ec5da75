"""A plain PyTorch loop, one process: ``python -m benchmarks.bench.peers.plain_loop DIR``.

Threads: torch's default, all cores.
"""

import sys
from collections.abc import Callable
from math import ceil
from pathlib import Path
from typing import Any

import torch
from benchmarks.bench.peers.recipe import as_features, build_collator, build_model
from benchmarks.bench.trials import Trial, TrialList, read_trials, write_scores
from torch.utils.data import DataLoader
from transformers import get_scheduler

#: Targets that carry no loss.
IGNORED = -100


class Rows:
    """The rows of all trials, with what makes batches of them."""

    def __init__(self, spec: TrialList) -> None:
        self.collate = build_collator(spec)
        self.train: Any = as_features(spec.train)
        self.search: Any = as_features(spec.search)


def train_trial(
    spec: TrialList, trial: Trial, rows: Rows, report: Callable[[float], None] = lambda _: None
) -> float:
    """Trains and scores one trial.

    Args:
        spec: What all trials share.
        trial: Its settings.
        rows: The tokenized rows.
        report: Told the metric at each evaluation.

    Returns:
        The metric on the search rows at the end.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = build_model(spec, trial).to(device)
    batches = DataLoader(
        rows.train,
        batch_size=trial.batch_size,
        shuffle=True,
        collate_fn=rows.collate,
        generator=torch.Generator().manual_seed(spec.seed),
    )
    steps = len(batches) * spec.epochs
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        parameters, lr=trial.learning_rate, weight_decay=trial.weight_decay, fused=True
    )
    scheduler = get_scheduler(
        trial.lr_scheduler_type, optimizer, ceil(steps * trial.warmup_ratio), steps
    )
    scored_after = {ceil(steps * (k + 1) / spec.evaluations) for k in range(spec.evaluations)}
    score, step = 0.0, 0
    model.train()
    for _ in range(spec.epochs):
        for batch in batches:
            model(**batch.to(device)).loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, spec.max_grad_norm)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
            step += 1
            if step in scored_after:
                score = score_rows(spec, model, rows)
                report(score)
    return score


@torch.inference_mode()
def score_rows(spec: TrialList, model: Any, rows: Rows) -> float:
    """Returns the metric on the search rows; leaves the model in training mode.

    Accuracy, or the mean loss a target token.
    """
    model.eval()
    longest_first: Any = sorted(rows.search, key=lambda row: -len(row["input_ids"]))
    total, count = 0.0, 0
    for batch in DataLoader(longest_first, spec.evaluation_batch_size, collate_fn=rows.collate):
        batch = batch.to(model.device)
        outputs = model(**batch)
        if spec.metric == "accuracy":
            total += int((outputs.logits.argmax(-1) == batch["labels"]).sum())
            count += len(batch["labels"])
        else:
            targets = int((batch["labels"][:, 1:] != IGNORED).sum())
            total += outputs.loss.item() * targets
            count += targets
    model.train()
    return total / count


def main() -> None:
    """Trains all trials of a folder."""
    folder = Path(sys.argv[1])
    spec = read_trials(folder)
    rows = Rows(spec)
    write_scores(folder, [train_trial(spec, trial, rows) for trial in spec.trials])


if __name__ == "__main__":
    main()
