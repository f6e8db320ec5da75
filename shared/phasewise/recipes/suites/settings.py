"""Suites of experiments: one YAML file each, in the form of the LoRA efficiency study.

``experiments`` lists configurations; a hyperparameter above the list holds for all. A suite becomes
a study: what differs in kind (precision, quantization, DoRA) makes methods, what differs in a
hyperparameter a grid.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from phasewise.errors import ConfigError, suggest_nearest
from phasewise.settings.base import read_yaml
from phasewise.settings.hyperparameters import OVERRULES, Hyperparameters
from phasewise.settings.names import Name
from phasewise.settings.parsing import parse_section
from phasewise.settings.registry import find_registered, registry_names
from phasewise.settings.space import Scalar
from phasewise.settings.space_names import short_names
from phasewise.settings.target_modules import parse_target_modules

Precision = Literal["4bit", "8bit", "bf16", "fp16", "fp32"]

#: Precision to what it changes in a method. Half precision is bfloat16 throughout: float16's range
#: needs loss scaling, which would make its runs differ in more than their precision.
PRECISIONS: dict[str, dict[str, Any]] = {
    "4bit": {"quantization": "nf4"},
    "8bit": {"quantization": "int8"},
    "bf16": {"dtype": "bfloat16"},
    "fp16": {"dtype": "bfloat16"},
    "fp32": {"dtype": "float32"},
}
#: transformers' and PEFT's names of hyperparameters, as suites may use them, to ours.
_SPELLINGS = {
    "num_train_epochs": "epochs",
    "num_epochs": "epochs",
    "per_device_train_batch_size": "device_batch_size",
    "max_seq_length": "max_length",
    "lora_r": "lora_rank",
    "seq_length": "max_length",
    "quantization": "precision",
    "load_in": "precision",
}
_QUESTIONS = ("name", "method", "precision")


class Experiment(BaseModel):
    """One configuration of a suite."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(description="Of its row in the results.")
    method: str = Field("lora", description="Name in shared/methods/.")
    precision: Precision | None = Field(None, description="Of the base weights; null: the study's.")
    hyperparameters: dict[str, Any] = Field(
        description="In a file they stand beside `name`, not under a key of their own."
    )

    @property
    def variant(self) -> str:
        """Name of the method that trains it in the suite's study."""
        return self.method if self.precision is None else f"{self.method}_{self.precision}"


class Suite(BaseModel):
    """A suite file, read and checked."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    suite_name: Name = Field(description="Of its study and of its rows in the results.")
    description: str = Field("", description="One sentence for `phasewise list`.")
    experiment_type: str = Field(description="What the results database calls its type.")
    reference: str | None = Field(None, description="Experiment that others are compared with.")
    base_model: str | None = Field(None, description="Hub id, local folder or package:NAME.")
    task: str | None = Field(None, description="Registered task, or one of the study's.")
    dataset_path: Path | None = Field(None, description="File that replaces the task's data.")
    seeds: int = Field(3, ge=3, description="Runs of each experiment.")
    smallest_effect: float | None = Field(
        None,
        gt=0,
        description="Smallest difference that counts, on the metric's scale; null: the search "
        "set's standard error.",
    )
    experiments: tuple[Experiment, ...] = Field(min_length=1, description="What is compared.")

    def variants(self) -> dict[str, list[Experiment]]:
        """Returns the suite's methods with their experiments."""
        found: dict[str, list[Experiment]] = {}
        for experiment in self.experiments:
            found.setdefault(experiment.variant, []).append(experiment)
        return found

    def describe_method(self, variant: str) -> dict[str, Any]:
        """Returns what the study's ``methods`` says of a variant."""
        first = self.variants()[variant][0]
        base = {} if first.variant == first.method else {"base": first.method}
        return {**base, **PRECISIONS.get(first.precision or "", {})}

    def varied(self) -> dict[str, list[Scalar]]:
        """Returns hyperparameter to its different values, of those that experiments differ in."""
        return {k: v for k, v in collect_values(self.experiments).items() if len(v) > 1}

    def hold(self, fixed: Mapping[str, Scalar]) -> "Suite":
        """Returns the suite with hyperparameters held at a value in every experiment.

        Raises:
            ConfigError: Its experiments differ in one of them.
        """
        varied, overruled = self.varied(), {name for name in fixed}
        overruled |= {over for over, name in OVERRULES.items() if name in fixed}
        if compared := [name for name in varied if name in overruled]:
            raise ConfigError(
                f"--fixed: the experiments of {self.suite_name} differ in {', '.join(compared)}; "
                "leave it out, or write a suite without that"
            )

        def held(experiment: Experiment) -> Experiment:
            kept = {k: v for k, v in experiment.hyperparameters.items() if k not in overruled}
            return experiment.model_copy(update={"hyperparameters": {**kept, **fixed}})

        return self.model_copy(update={"experiments": tuple(map(held, self.experiments))})


def collect_values(experiments: Iterable[Experiment]) -> dict[str, list[Scalar]]:
    """Returns hyperparameter to its different values, in file order."""
    values: dict[str, list[Scalar]] = {}
    for experiment in experiments:
        for name, value in experiment.hyperparameters.items():
            if value not in values.setdefault(name, []):
                values[name].append(value)
    return values


def load_suite(name: str) -> Suite:
    """Returns a suite: a name in ``shared/suites/``, or a YAML file.

    Raises:
        ConfigError: Missing, misspelt, or without two different experiments.
    """
    file = Path(name) if name.endswith((".yaml", ".yml")) else find_registered("suites", name)
    if file is None or not file.is_file():
        near = suggest_nearest(name, registry_names("suites"))
        raise ConfigError(f"{name}: neither a YAML file nor a suite in shared/suites/{near}")
    content = read_yaml(file)
    listed = content.pop("experiments", None)
    if not isinstance(listed, list):
        raise ConfigError(f"{file}: expected `experiments:` with a list of configurations")
    own = {key: content.pop(key) for key in list(content) if key in Suite.model_fields}
    shared = _rename(content, file)
    experiments = [_read_experiment({**shared, **_rename(e, file)}, file) for e in listed]
    own.setdefault("experiment_type", own.get("suite_name", file.stem))
    if own.get("dataset_path"):
        own["dataset_path"] = _find_dataset(Path(own["dataset_path"]), file)
    try:
        suite = Suite.model_validate({**own, "experiments": experiments})
    except ValueError as error:
        raise ConfigError(f"{file}: {' '.join(str(error).split())}") from error
    _check_names(suite, file)
    return suite


def single_experiment(
    experiment_type: str,
    name: str,
    *,
    method: str,
    precision: str | None,
    seeds: int,
    hyperparameters: Mapping[str, Scalar],
) -> Suite:
    """Returns a suite of one experiment.

    Raises:
        ConfigError: A name or the precision is not what it may be.
    """
    content = {
        "suite_name": f"{experiment_type}_{name}",
        "experiment_type": experiment_type,
        "seeds": seeds,
        "experiments": [
            {
                "name": name,
                "method": method,
                "precision": precision,
                "hyperparameters": dict(hyperparameters),
            }
        ],
    }
    try:
        return Suite.model_validate(content)
    except ValueError as error:
        raise ConfigError(f"experiment {name}: {' '.join(str(error).split())}") from error


def keep_experiments(suite: Suite, names: Sequence[str] | None) -> Suite:
    """Returns the suite with only these experiments, and the reference; None keeps all.

    Raises:
        ConfigError: A name is none of the suite's.
    """
    if not names:
        return suite
    known = [experiment.name for experiment in suite.experiments]
    for name in names:
        if name not in known:
            raise ConfigError(
                f"--experiment {name}: not in the suite{suggest_nearest(name, known)}"
            )
    wanted = {*names, suite.reference}
    kept = tuple(each for each in suite.experiments if each.name in wanted)
    return suite.model_copy(update={"experiments": kept})


def _find_dataset(path: Path, suite: Path) -> Path:
    """Returns a data file as the current folder knows it, else as the suite's folder does."""
    beside = suite.parent / path
    return beside if beside.is_file() and not path.is_file() else path


def _rename(content: Any, file: Path) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise ConfigError(f"{file}: experiments: expected `name: …` mappings, got {content!r}")
    known = {**short_names(), **_SPELLINGS}
    renamed = {known.get(str(key), str(key)): value for key, value in content.items()}
    names = [*_QUESTIONS, *Hyperparameters.model_fields]
    for key in renamed:
        if key not in names:
            raise ConfigError(f"{file}: unknown key '{key}'{suggest_nearest(key, names)}")
    if isinstance(renamed.get("target_modules"), list):
        renamed["target_modules"] = "+".join(map(str, renamed["target_modules"]))
    if "target_modules" in renamed:
        try:
            renamed["target_modules"] = parse_target_modules(str(renamed["target_modules"]))
        except ValueError as error:
            raise ConfigError(f"{file}: target_modules: {error}") from error
    return renamed


def _read_experiment(content: dict[str, Any], file: Path) -> Experiment:
    own = {key: content.pop(key) for key in _QUESTIONS if key in content}
    return parse_section(Experiment, {**own, "hyperparameters": content}, file)  # type: ignore[type-var]


def _check_names(suite: Suite, file: Path) -> None:
    names = [experiment.name for experiment in suite.experiments]
    if len(set(names)) < len(names):
        raise ConfigError(f"{file}: experiments: a name is given twice")
    if suite.reference is not None and suite.reference not in names:
        near = suggest_nearest(suite.reference, names)
        raise ConfigError(f"{file}: reference '{suite.reference}' is no experiment{near}")
