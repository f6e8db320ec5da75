"""DoRA where a row of the frozen weight is zero, against PEFT's own layer."""

from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from phasewise.methods.dora import guard_dora


def _build(guards: bool) -> Any:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 6, bias=False))
    with torch.no_grad():
        model[0].weight[2] = 0
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules=["0"], use_dora=True))  # type: ignore[arg-type]
    if guards:
        guard_dora(adapted)
    return adapted


def _train(model: Any) -> torch.Tensor:
    """Returns the outputs, (3, 6), after steps that have moved every matrix."""
    rows = torch.linspace(-1, 1, 24).reshape(3, 8)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        (model(rows) - 1)[:, [0, 1, 3, 4, 5]].square().sum().backward()
        optimizer.step()
    return torch.as_tensor(model(rows)).detach()


def test_a_row_of_zeros_stays_zero_and_the_others_are_peft_s_to_the_bit() -> None:
    plain, guarded = _build(guards=False), _build(guards=True)
    rows = torch.linspace(-1, 1, 24).reshape(3, 8)
    others = [0, 1, 3, 4, 5]
    assert plain(rows)[:, 2].isnan().all()  # else the guard can go
    assert torch.equal(plain(rows)[:, others], guarded(rows)[:, others])
    trained = _train(guarded)
    assert trained.isfinite().all()
    assert not trained[:, 2].any()
    merged = guarded.merge_and_unload(safe_merge=True)
    torch.testing.assert_close(merged(rows), trained)
