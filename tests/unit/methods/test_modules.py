import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

from phasewise.errors import ConfigError
from phasewise.methods.models import find_head
from phasewise.methods.modules import UnknownFamilyWarning, family_roles, find_target_modules

_SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "vocab_size": 50,
}
_LLAMA = {**_SMALL, "num_key_value_heads": 2, "head_dim": 8}
_FAMILIES = {
    "bert": _SMALL,
    "roberta": _SMALL,
    "distilbert": {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32, "vocab_size": 50},
    "deberta-v2": _SMALL,
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "phi": _SMALL,
    "phi3": {**_LLAMA, "pad_token_id": 0},
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
    "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2, "vocab_size": 50},
    "opt": {**_SMALL, "ffn_dim": 32, "word_embed_proj_dim": 16},
}


def _build(family: str) -> torch.nn.Module:
    config = AutoConfig.for_model(family, **_FAMILIES[family])
    with torch.device("meta"):
        model: torch.nn.Module = AutoModelForSequenceClassification.from_config(config)
    return model


def _ends(family: str, group: str) -> list[str]:
    """The names within the first block, without the block's own."""
    model = _build(family)
    found = find_target_modules(model, group, exclude=find_head(model))  # type: ignore[arg-type]
    return [name.split(".0.", 1)[1] for name in found if ".0." in name]


_BERT_ATTENTION = [
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
    "attention.output.dense",
]


@pytest.mark.parametrize(
    ("family", "group", "expected"),
    [
        ("bert", "attention", _BERT_ATTENTION),
        ("bert", "query_value", ["attention.self.query", "attention.self.value"]),
        ("bert", "mlp", ["intermediate.dense", "output.dense"]),
        (
            "bert",
            "core",
            ["attention.self.query", "attention.self.value", "intermediate.dense", "output.dense"],
        ),
        ("bert", "minimal", ["attention.self.query", "attention.self.value", "output.dense"]),
        ("roberta", "attention", _BERT_ATTENTION),
        ("roberta", "mlp", ["intermediate.dense", "output.dense"]),
        (
            "deberta-v2",
            "attention",
            [
                "attention.self.query_proj",
                "attention.self.key_proj",
                "attention.self.value_proj",
                "attention.output.dense",
            ],
        ),
        (
            "distilbert",
            "core",
            ["attention.q_lin", "attention.v_lin", "ffn.lin1", "ffn.lin2"],
        ),
        (
            "llama",
            "core",
            ["self_attn.q_proj", "self_attn.v_proj", "mlp.gate_proj", "mlp.down_proj"],
        ),
        ("mistral", "mlp", ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]),
        ("qwen2", "minimal", ["self_attn.q_proj", "self_attn.v_proj", "mlp.down_proj"]),
        (
            "qwen3",
            "attention",
            ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"],
        ),
        ("phi", "mlp", ["mlp.fc1", "mlp.fc2"]),
        (
            "phi",
            "attention",
            ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.dense"],
        ),
        ("phi3", "query_value", ["self_attn.qkv_proj"]),
        ("gpt2", "attention", ["attn.c_attn", "attn.c_proj"]),
        ("gpt2", "query_value", ["attn.c_attn"]),
        ("gpt2", "mlp", ["mlp.c_fc", "mlp.c_proj"]),
    ],
)
def test_a_group_names_the_same_roles_in_every_family(
    family: str, group: str, expected: list[str]
) -> None:
    assert sorted(_ends(family, group)) == sorted(expected)


@pytest.mark.parametrize("family", sorted(_FAMILIES))
def test_all_holds_every_other_group_and_never_the_head(family: str) -> None:
    model = _build(family)
    head = find_head(model)
    every = set(find_target_modules(model, "all", exclude=head))
    assert head
    assert not [name for name in every if name.split(".")[0] in head]
    if family == "opt":
        return
    for group in ("attention", "query_value", "mlp", "core", "minimal"):
        found = find_target_modules(model, group, exclude=head)  # type: ignore[arg-type]
        assert found
        assert set(found) <= every


def test_unknown_family_falls_back_to_all_linear_layers_with_a_warning() -> None:
    model = _build("opt")
    with pytest.warns(UnknownFamilyWarning, match="'opt' is not known"):
        found = find_target_modules(model, "query_value", exclude=find_head(model))
    assert len(found) == 2 * 6  # two blocks of q, k, v, out, fc1, fc2


def test_a_model_without_such_layers_is_refused() -> None:
    with pytest.raises(ConfigError, match="names no linear layer"):
        find_target_modules(torch.nn.Sequential(torch.nn.ReLU()), "all")


def test_roles_are_taken_one_by_one_with_embedding_and_head_where_named() -> None:
    config = AutoConfig.for_model("llama", **_LLAMA)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    found = find_target_modules(model, "embedding+query+down+lm_head", exclude=find_head(model))
    assert found[-1] == "lm_head"
    assert "model.embed_tokens" in found
    assert [name.rpartition(".")[2] for name in found if ".0." in name] == ["q_proj", "down_proj"]
    assert "lm_head" not in find_target_modules(model, "all", exclude=find_head(model))
    assert find_target_modules(model, "embedding") == ["model.embed_tokens"]


def test_a_head_that_trains_in_full_gets_no_adapter() -> None:
    model = _build("llama")
    with pytest.raises(ConfigError, match="names no linear layer"):
        find_target_modules(model, "lm_head", exclude=["score"], in_full=["score"])


def test_layers_of_a_family_tell_which_roles_they_play() -> None:
    assert family_roles("gpt2") == {
        "attn.c_attn": ("query", "key", "value"),
        "attn.c_proj": ("output",),
        "mlp.c_fc": ("up",),
        "mlp.c_proj": ("down",),
    }
    assert family_roles("camembert") == family_roles("bert")
    assert family_roles("opt") is None
