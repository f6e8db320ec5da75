"""``phasewise check``: what is wrong with a study is found, and told in full, before it trains.

No weights are read, but with ``--step``.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar

import typer

from phasewise.cli.options import (
    DEFAULT_STUDY,
    JsonOption,
    ShardOption,
    StudyOption,
    load_owned,
    print_json,
)
from phasewise.errors import ConfigError, DataError, PhasewiseError
from phasewise.records import write_json
from phasewise.runs import task_hash
from phasewise.settings import ALL_SHARD, Study, describe_idle_settings
from phasewise.settings.space_file import example_values
from phasewise.steps import check_hash

#: Rows of each task that are tokenized.
_ROWS = 8
P = ParamSpec("P")
T = TypeVar("T")


class _Problems:
    """Takes note of what each check finds, so that one call tells all of it."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def attempt(self, check: Callable[P, T], *args: P.args, **more: P.kwargs) -> T | None:
        """Returns what a check returns; None where it finds a problem."""
        try:
            return check(*args, **more)
        except PhasewiseError as error:
            if str(error) not in self.lines:
                self.lines.append(str(error))
            return None


def check(
    study: StudyOption = DEFAULT_STUDY,
    vm: ShardOption = ALL_SHARD,
    output: Annotated[
        Path | None, typer.Option(help="JSON file to write once all is good.")
    ] = None,
    step: Annotated[
        bool, typer.Option("--step", help="Train a step of each unit; tell its time and memory.")
    ] = False,
    other_device: Annotated[
        bool, typer.Option("--other-device", help="Runs train elsewhere: ask no device here.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Check a study, its model, device and data, and tell every problem, before it trains."""
    loaded = load_owned(study)
    problems = _Problems()
    with redirect_stdout(sys.stderr) if as_json else nullcontext():
        rows = _check_all(loaded, vm, problems, step=step, other_device=other_device)
    if as_json:
        print_json({"study": study, "problems": problems.lines, "rows": rows})
    if problems.lines:
        raise ConfigError("\n".join(problems.lines))
    if output is not None:
        hashes = {task: task_hash(loaded, task) for task in rows}
        write_json(output, {"settings_hash": check_hash(hashes), "rows": rows})
    if not as_json:
        typer.echo(f"{study}: {len(rows)} tasks x {len(loaded.methods)} methods, all good")


def _check_all(
    study: Study, vm: str, problems: _Problems, *, step: bool, other_device: bool
) -> dict[str, dict[str, int]]:
    """Takes note of all problems; returns the number of rows of each task's sets."""
    units = study.units_of(vm)
    _check_settings(study, units, problems)
    if not other_device:
        problems.attempt(_check_device, study)
    rows = _check_tasks(study, study.tasks_of(vm), problems)
    known = {task: sizes["train"] for task, sizes in rows.items()}
    for line in describe_idle_settings(study, units, known):
        typer.echo(f"no effect: {line}")
    if step and not problems.lines:
        _try_steps(study, units, problems)
    return rows


def _check_settings(study: Study, units: list[tuple[str, str]], problems: _Problems) -> None:
    """Checks what other packages and other studies decide, but neither model nor data."""
    from phasewise.samplers import require_sampler
    from phasewise.tuning.narrowing import unfinished_sources

    problems.attempt(require_sampler, study.settings.search.sampler)
    problems.attempt(_check_confirmations, study)
    problems.attempt(_check_data_folder, study)
    notes: list[str] = []
    for settings in study.methods.values():
        if settings.traits.takes_peft:
            from phasewise.methods.adapter_config import check_adapter  # PEFT takes seconds

            problems.attempt(check_adapter, settings)
        notes += (note for note in study.space.notes_on(settings) if note not in notes)
    for line in notes:
        typer.echo(line)
    for task, method in units:
        problems.attempt(unfinished_sources, study, task, method)


def _check_confirmations(study: Study) -> None:
    search = study.settings.search
    if "confirm_top" in search.model_fields_set and search.confirm_top > search.trials:
        raise ConfigError(
            f"{study.path}: search.confirm_top {search.confirm_top}: expected at most "
            f"search.trials, {search.trials}; lower it, or search longer"
        )


def _check_data_folder(study: Study) -> None:
    folder = study.settings.data_dir
    if folder is not None and not folder.is_dir():
        raise ConfigError(f"{study.path}: data_dir (or PHASEWISE_DATA): no folder {folder}")


def _check_device(study: Study) -> None:
    from phasewise.training.hardware import find_gpus

    find_gpus(study.settings.machine)
    if study.settings.machine.device == "cuda":  # there is a GPU; PyTorch may be unable to use it
        from phasewise.training.device import choose_device  # transformers' Trainer takes seconds

        choose_device(study.settings.machine)


def _check_tasks(study: Study, tasks: list[str], problems: _Problems) -> dict[str, dict[str, int]]:
    """Checks data and model together; returns the number of rows of each task's sets."""
    from phasewise.methods.base_config import load_config
    from phasewise.methods.models import load_tokenizer
    from phasewise.tasks.data import check_task_data

    model = study.settings.model
    config = problems.attempt(load_config, model)
    tokenizer = None if config is None else problems.attempt(load_tokenizer, model)
    rows = {}
    told: set[str] = set()
    for name in tasks:
        if config is not None:
            problems.attempt(_check_architecture, study, name, config)
            problems.attempt(_check_lengths, study, name)
        if tokenizer is not None:
            _tell_inherited(study, name, tokenizer, told)
        splits = problems.attempt(check_task_data, study.tasks[name], study.settings.data_dir)
        if splits is None:
            continue
        for message in splits.messages:
            typer.echo(f"{name}: {message}")
        if tokenizer is not None:
            problems.attempt(_check_tokens, study, name, splits.train[:_ROWS], tokenizer, config)
        rows[name] = {"train": len(splits.train), "search": len(splits.search)}
    return rows


def _tell_inherited(study: Study, task: str, tokenizer: Any, told: set[str]) -> None:
    """Prints what a run sets otherwise than the base's configuration, each line once."""
    from phasewise.methods.base_config import describe_inherited
    from phasewise.tasks.kinds import get_kind

    settings, kind = study.tasks[task], get_kind(study.tasks[task])
    kwargs = kind.model_kwargs(settings)
    for line in describe_inherited(study.settings.model, tokenizer, kind.auto_class, kwargs):
        if line not in told:
            told.add(line)
            typer.echo(line)


def _check_architecture(study: Study, task: str, config: Any) -> None:
    """Checks that transformers has a model of this architecture with the task's head."""
    import transformers

    from phasewise.tasks.kinds import get_kind

    auto_class = get_kind(study.tasks[task]).auto_class
    if type(config) not in getattr(transformers, auto_class)._model_mapping:
        raise ConfigError(
            f"model.source: {study.settings.model.source}: architecture '{config.model_type}' has "
            f"no {auto_class} in transformers, which task '{task}' needs; choose another model"
        )


def _check_lengths(study: Study, task: str) -> None:
    """Checks that no text will be longer than what the model has positions for."""
    from phasewise.methods.base_config import require_positions

    for key, length in _lengths(study, task):
        require_positions(study.settings.model, length, f"{study.path}: {key}")


def _lengths(study: Study, task: str) -> Iterator[tuple[str, int]]:
    """Yields the lengths of text that runs may have, each with its key."""
    yield f"tasks.{task}.max_length", study.tasks[task].max_length
    for method in study.methods:
        default = study.default_hyperparameters(task, method).max_length
        if default is not None:
            yield f"methods.{method}.defaults.max_length", default
        if drawn := study.parameters_of(method).get("max_length"):
            values = [int(value) for value in example_values(drawn) if value is not None]
            yield f"search space of '{method}': max_length", max(values, default=0)


def _check_tokens(
    study: Study, task: str, examples: Sequence[Any], tokenizer: Any, config: Any
) -> None:
    """Checks that a few rows become tokens, and such as the model knows."""
    from phasewise.tasks.kinds import get_kind

    where = f"task '{task}': tokenizer of {study.settings.model.source}"
    settings = study.tasks[task]
    try:
        features = get_kind(settings).tokenize_train(examples, tokenizer, settings)
    except PhasewiseError:
        raise
    except Exception as error:  # templates and tokenizers raise what they like
        reason = (str(error).splitlines() or [""])[0]
        message = f"{where}: the first rows cannot be tokenized: {type(error).__name__}: {reason}"
        raise DataError(message) from error
    tokens = {int(token) for feature in features for token in feature["input_ids"]}
    known = int(getattr(config, "vocab_size", None) or len(tokenizer))
    if max(tokens, default=0) >= known:
        raise ConfigError(
            f"{where}: writes token {max(tokens)}, the model has {known}; expected the model's own"
        )
    if tokens and tokens <= {tokenizer.unk_token_id, *tokenizer.all_special_ids}:
        raise ConfigError(
            f"{where}: knows no token of the first rows; expected one of the texts' language"
        )


def _try_steps(study: Study, units: list[tuple[str, str]], problems: _Problems) -> None:
    """Trains one step of each unit, one unit after another."""
    from phasewise.tuning.short_runs import try_step

    for task, method in units:
        cost = problems.attempt(try_step, study, task, method)
        if cost is not None:
            memory = "" if cost.peak_memory_mb is None else f", {cost.peak_memory_mb:.0f} MB"
            typer.echo(f"{task}/{method}: one step in {cost.train_seconds:.2f} s{memory}")
