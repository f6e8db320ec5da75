"""The peers train and score what the list says (Ray is not installed here)."""

import sys
from pathlib import Path

import pytest
import torch
from benchmarks.bench.peers import hyperparameter_search, plain_loop
from benchmarks.bench.peers.recipe import build_model
from benchmarks.bench.trials import TrialList, read_scores
from benchmarks.bench.workloads import WORKLOADS, Sizes, describe_study, export_trials, write_study

from phasewise.methods.adapt import adapt_model
from phasewise.methods.models import load_base_model
from phasewise.settings import Hyperparameters
from phasewise.tasks.kinds import get_kind


@pytest.fixture
def spec(tmp_path: Path) -> TrialList:
    workload = WORKLOADS["documented"]._replace(layers=1)
    changes = {"machine": {"device": "cpu"}, "training": {"evaluations_per_epoch": 2}}
    study = write_study(tmp_path, describe_study(workload, Sizes(2, 8, 8), changes))
    return export_trials(study, tmp_path)


def test_peers_train_the_same_weights_as_phasewise(spec: TrialList, tmp_path: Path) -> None:
    study = write_study(
        tmp_path, describe_study(WORKLOADS["documented"]._replace(layers=1), Sizes(2, 8, 8), {})
    )
    ((_, task),), ((_, method),) = study.tasks.items(), study.methods.items()
    kind = get_kind(task)
    base = load_base_model(
        study.settings.model,
        auto_class=kind.auto_class,
        kwargs=kind.model_kwargs(task),
        tokenizer=None,
    )
    chosen = Hyperparameters(epochs=1, target_modules="query_value", **spec.trials[0]._asdict())
    ours = adapt_model(base, method, chosen, kind.auto_class)
    theirs = build_model(spec, spec.trials[0])
    shapes = [
        {name: p.shape for name, p in model.named_parameters() if p.requires_grad}
        for model in (ours, theirs)
    ]
    assert shapes[0] == shapes[1]
    assert shapes[0]


def test_loop_reports_each_evaluation_and_returns_the_last(spec: TrialList) -> None:
    reported: list[float] = []
    rows = plain_loop.Rows(spec)
    score = plain_loop.train_trial(spec, spec.trials[0], rows, reported.append)
    assert len(reported) == spec.evaluations == 2
    assert score == reported[-1]


def test_loop_learns(spec: TrialList) -> None:
    good, bad = spec.train[0].input_ids, spec.train[1].input_ids
    apart = tuple(row._replace(input_ids=good if row.labels else bad) for row in spec.train)
    eager = spec.trials[0]._replace(learning_rate=3e-2, batch_size=2)
    spec = spec._replace(train=apart, search=apart, epochs=4)
    assert plain_loop.train_trial(spec, eager, plain_loop.Rows(spec)) == 1.0


@pytest.mark.parametrize("module", [plain_loop, hyperparameter_search])
def test_each_trial_gets_a_score(
    module: object, spec: TrialList, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["peer", str(tmp_path)])
    module.main()  # type: ignore[attr-defined]
    scores = read_scores(tmp_path)
    assert len(scores) == 2
    assert all(score is not None and 0 <= score <= 1 for score in scores)
    assert torch.is_grad_enabled()
