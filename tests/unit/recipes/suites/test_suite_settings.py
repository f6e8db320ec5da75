from pathlib import Path

import pytest

from phasewise.errors import ConfigError
from phasewise.recipes.suites.settings import keep_experiments, load_suite
from phasewise.settings import registry_names

DOCUMENTED = """
suite_name: "my_experiment_suite"
base_model: "microsoft/phi-2"
dataset_path: "data/alpaca_sample.jsonl"
num_train_epochs: 2
per_device_train_batch_size: 4
max_seq_length: 512

experiments:
  - name: "exp1"
    lora_rank: 16
  - name: "exp2"
    lora_rank: 32
"""


def _write(folder: Path, text: str) -> str:
    path = folder / "suite.yaml"
    path.write_text(text)
    return str(path)


def test_the_documented_form_is_read(tmp_path: Path) -> None:
    suite = load_suite(_write(tmp_path, DOCUMENTED))
    assert (suite.suite_name, suite.base_model) == ("my_experiment_suite", "microsoft/phi-2")
    assert suite.dataset_path == Path("data/alpaca_sample.jsonl")
    assert [e.hyperparameters for e in suite.experiments] == [
        {"epochs": 2, "device_batch_size": 4, "max_length": 512, "lora_rank": rank}
        for rank in (16, 32)
    ]


def test_registered_suites_cover_the_documented_ablations() -> None:
    suites = {name: load_suite(name) for name in registry_names("suites")}
    ranks = [e.hyperparameters["lora_rank"] for e in suites["rank_sweep"].experiments]
    assert ranks == [4, 8, 16, 32, 64]
    modules = [e.hyperparameters["target_modules"] for e in suites["module_sweep"].experiments]
    assert modules[:3] == ["query+value", "query+key+value+output", "gate+up+down"]
    quantized = suites["quantization_sweep"]
    assert {v: quantized.describe_method(v) for v in quantized.variants()} == {
        "lora_4bit": {"base": "lora", "quantization": "nf4"},
        "lora_8bit": {"base": "lora", "quantization": "int8"},
        "lora_bf16": {"base": "lora", "dtype": "bfloat16"},
        "lora_fp32": {"base": "lora", "dtype": "float32"},
    }
    assert {suite.experiment_type for suite in suites.values()} == {
        "rank_ablation",
        "module_ablation",
        "quantization_study",
    }


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (("lora_rank: 32", "lora_rnak: 32"), "unknown key 'lora_rnak'; did you mean 'lora_rank'"),
        (("exp2", "exp1"), "a name is given twice"),
        (("experiments:", "experiment:"), "expected `experiments:`"),
        (("max_seq_length: 512", "reference: exp3"), "reference 'exp3' is no experiment"),
        (("max_seq_length: 512", "seeds: 1"), "greater than or equal to 3"),
        (("lora_rank: 32", "target_modules: [q_poj]"), "did you mean 'q_proj'"),
        (("lora_rank: 32", "precision: 3bit"), "precision"),
    ],
)
def test_what_is_wrong_is_refused_by_name(
    change: tuple[str, str], problem: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=problem):
        load_suite(_write(tmp_path, DOCUMENTED.replace(*change)))


def test_single_experiments_keep_the_reference() -> None:
    kept = keep_experiments(load_suite("rank_sweep"), ["r4"])
    assert [experiment.name for experiment in kept.experiments] == ["r4", "r16"]
    with pytest.raises(ConfigError, match="not in the suite"):
        keep_experiments(kept, ["r5"])
