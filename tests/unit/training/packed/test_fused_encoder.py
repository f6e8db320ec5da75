"""The blocks computed in one call against transformers' own code: the same numbers, every one."""

import shutil
from collections.abc import Sequence

import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

from phasewise.methods.models import BaseModel
from phasewise.training.dropout import Stream
from phasewise.training.kernels.fused_encoder import FusedEncoderPass
from phasewise.training.packed import fused_encoder
from phasewise.training.packed.forward import find_gradients
from phasewise.training.packed.layout import Member
from phasewise.training.packed.low_rank import LowRank
from phasewise.training.packed.model import PackedModel

pytestmark = [
    pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler"),
    pytest.mark.usefixtures("kernels"),
]
_IDS = torch.tensor([[101, 7, 8, 9, 10, 102], [101, 11, 102, 0, 0, 0], [101, 5, 6, 102, 0, 0]])
_IDS = torch.cat([_IDS, _IDS.flip(0) + (_IDS.flip(0) > 0) * 7])
_LABELS = torch.tensor([0, 2, 1, 1, 0, 2])
_QUERY_VALUE = ("attention.self.query", "attention.self.value")
_ALL = (
    *(*_QUERY_VALUE, "attention.self.key", "attention.output.dense"),
    *("intermediate.dense", "output.dense"),
)


@pytest.fixture(autouse=True)
def _fast_products(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused_encoder, "are_products_fast", lambda dtype: True)


def _base(family: str, width: int, dtype: torch.dtype) -> BaseModel:
    config = AutoConfig.for_model(
        family, vocab_size=200, pad_token_id=0, num_labels=3, hidden_size=width,
        num_hidden_layers=3, num_attention_heads=4, intermediate_size=2 * width + 8,
        **({"embedding_size": width} if family == "electra" else {}),
    )  # fmt: skip
    torch.manual_seed(3)
    model = AutoModelForSequenceClassification.from_config(config).eval().requires_grad_(False)
    return BaseModel(model.to(dtype), ("score",) if family == "llama" else ("classifier",))


def _member(
    base: BaseModel, packed: PackedModel, targets: Sequence[str], rank: int, seed: int
) -> Member:
    """Returns a member with pairs in these layers of every block, and with a dropout of its own."""
    generator, layers = torch.Generator().manual_seed(seed), {}
    for name, module in base.model.named_modules():
        if name.endswith(tuple(f".{target}" for target in targets)):
            down = torch.randn(rank, module.in_features, generator=generator) / 8
            up = torch.randn(module.out_features, rank, generator=generator) / 8
            layers[name] = LowRank(down.requires_grad_(), up.requires_grad_(), 1.5, 0.1 * seed)
            packed._adapt(name)
    heads = {}
    for name in base.fresh_modules:
        weights = base.model.get_submodule(name).named_parameters()
        heads[name] = {n: torch.randn(w.shape, generator=generator) / 4 for n, w in weights}
    return Member(layers, heads, Stream(seed, torch.device("cpu")))


class _Pack:
    """Three members on six rows, one of them with nothing adapted."""

    def __init__(self, base: BaseModel, targets: Sequence[str]) -> None:
        self.packed = PackedModel(base)
        self.members = [
            (_member(base, self.packed, targets, 5, 1), 2),
            (_member(base, self.packed, (), 1, 2), 1),
            (_member(base, self.packed, targets[:1], 16, 3), 3),
        ]

    def step(self) -> tuple[torch.Tensor, list[torch.Tensor], list[object]]:
        """Returns logits, gradients, and where the random streams stand."""
        self.packed.train(True)
        for seed, (member, _) in enumerate(self.members):
            member.stream = Stream(seed, torch.device("cpu"))
        batch = {"input_ids": _IDS, "attention_mask": (_IDS > 0).long()}
        with torch.autocast(
            "cpu", torch.bfloat16, enabled=self.packed._model.dtype != torch.float32
        ):
            logits = self.packed(self.members, batch)
        loss = torch.nn.functional.cross_entropy(logits.float(), _LABELS)
        runs = [
            (member, [w for pair in member.layers.values() for w in (pair.down, pair.up)])
            for member, _ in self.members
        ]
        grads = [g.clone() for own in find_gradients(loss, runs) for g in own if g is not None]
        return logits.detach(), grads, [member.stream.state for member, _ in self.members]


def _count_runs(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Returns a list that grows whenever the blocks are computed together."""
    runs, run = list[bool](), fused_encoder.FusedEncoder._run
    monkeypatch.setattr(
        fused_encoder.FusedEncoder,
        "_run",
        lambda *args, trains: (runs.append(trains), run(*args, trains=trains))[1],
    )
    return runs


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("family", "width"), [("bert", 32), ("roberta", 24), ("electra", 32)])
@pytest.mark.parametrize(
    "targets", [_QUERY_VALUE, _ALL, (*_ALL, "pooler.dense"), ("intermediate.dense",)]
)
def test_losses_gradients_and_random_streams(
    family: str,
    width: int,
    targets: Sequence[str],
    dtype: torch.dtype,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pack = _Pack(_base(family, width, dtype), targets)
    runs = _count_runs(monkeypatch)
    logits, grads, places = pack.step()
    assert runs == [True]
    monkeypatch.setattr(fused_encoder.FusedEncoder, "_covers", lambda *_, **__: False)
    wanted, wanted_grads, wanted_places = pack.step()
    assert places == wanted_places
    near = 2e-5 if dtype == torch.float32 else 6e-2
    torch.testing.assert_close(logits, wanted, rtol=near, atol=near * float(wanted.abs().max()))
    for grad, expected in zip(grads, wanted_grads, strict=True):
        assert float((grad - expected).norm() / expected.norm()) < near


@pytest.mark.parametrize("kind", ["magnitude", "bias", "layer"])
def test_members_of_another_kind_pass_through_the_blocks_own_code(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = _base("bert", 32, torch.float32)
    pack = _Pack(base, _QUERY_VALUE)
    member = pack.members[0][0]
    if kind == "magnitude":
        name, pair = next(iter(member.layers.items()))
        magnitude = torch.ones(32).requires_grad_()
        member.layers[name] = LowRank(pair.down, pair.up, pair.scaling, pair.dropout, magnitude)
    elif kind == "bias":
        member.biases["bert.encoder.layer.0.output.dense"] = torch.ones(32).requires_grad_()
    else:
        weights = (torch.ones(2, 32).requires_grad_(), torch.ones(32, 2).requires_grad_())
        member.layers["bert.embeddings_project"] = LowRank(*weights, 1.0, 0.0)
    runs = _count_runs(monkeypatch)
    pack.step()
    assert runs == []


def test_scores_are_those_of_the_blocks_own_code(monkeypatch: pytest.MonkeyPatch) -> None:
    pack, runs = _Pack(_base("bert", 32, torch.float32), _ALL), _count_runs(monkeypatch)
    batch = {"input_ids": _IDS, "attention_mask": (_IDS > 0).long()}
    pack.packed.train(False)
    with torch.inference_mode():
        found = pack.packed(pack.members, batch)
        assert runs == [False]
        monkeypatch.setattr(fused_encoder.FusedEncoder, "_covers", lambda *_, **__: False)
        torch.testing.assert_close(found, pack.packed(pack.members, batch), rtol=1e-5, atol=1e-6)


def test_what_is_scored_first_trains_as_what_is_not() -> None:
    packs = [_Pack(_base("bert", 32, torch.float32), _ALL) for _ in range(2)]
    batch = {"input_ids": _IDS, "attention_mask": (_IDS > 0).long()}
    packs[0].packed.train(False)
    with torch.inference_mode():
        packs[0].packed(packs[0].members, batch)
    torch.testing.assert_close(packs[0].step()[1], packs[1].step()[1], rtol=0, atol=0)


def test_nothing_goes_back_for_members_that_adapt_no_block(monkeypatch: pytest.MonkeyPatch) -> None:
    pack = _Pack(_base("bert", 32, torch.float32), _ALL)
    member = pack.members[1][0]
    (head,) = member.heads.values()
    weights = [weight.requires_grad_() for weight in head.values()]
    calls = list[str]()
    do = FusedEncoderPass._do
    monkeypatch.setattr(
        FusedEncoderPass,
        "_do",
        lambda own, name, *args: (calls.append(name), do(own, name, *args))[1],
    )
    batch = {"input_ids": _IDS, "attention_mask": (_IDS > 0).long()}
    logits = pack.packed([(member, len(_IDS))], batch)
    (grads,) = find_gradients(logits.square().sum(), [(member, weights)])
    assert all(grad is not None and grad.any() for grad in grads)
    assert calls == ["run_encoder"]


@pytest.mark.parametrize("family", ["distilbert", "llama"])
def test_blocks_of_other_kinds_are_left_alone(family: str) -> None:
    packed = PackedModel(_base(family, 32, torch.float32))
    assert fused_encoder.FusedEncoder.find(packed._model, packed._blocks) is None


def test_embeddings_that_are_called_otherwise_leave_the_blocks_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    base = _base("bert", 32, torch.float32)
    embeddings = type(base.model.bert.embeddings)
    own = embeddings.forward

    def forward(self: torch.nn.Module, **given: torch.Tensor) -> torch.Tensor:
        assert "past_key_values_length" in given  # as BERT's own code has it
        return own(self, **given)

    monkeypatch.setattr(embeddings, "forward", forward)
    pack, runs = _Pack(base, _ALL), _count_runs(monkeypatch)
    pack.step()
    assert runs == []


def test_a_slow_product_leaves_the_blocks_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused_encoder, "are_products_fast", lambda dtype: False)
    pack, runs = _Pack(_base("bert", 32, torch.float32), _ALL), _count_runs(monkeypatch)
    pack.step()
    assert runs == []
