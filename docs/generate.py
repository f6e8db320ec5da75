"""Writes the pages and schemas that follow from the code: ``python docs/generate.py``.

``docs/reference/settings.md`` from the settings models, ``hardware.md`` from the estimate of
``plan``, ``docs/schemas/*.json`` for editors. A test fails where they drift. The page of all
commands is made as the site is built (a hook of mkdocs).
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from phasewise.cli.app import app
from phasewise.pruners import PRUNERS
from phasewise.recipes.presets.settings import FocusSettings, PresetSettings, StrategySettings
from phasewise.recipes.suites.settings import Experiment, Suite
from phasewise.report.terms import TERMS
from phasewise.samplers import all_samplers
from phasewise.settings import METRICS, Hyperparameters, MethodSettings, TaskSettings
from phasewise.settings.loading import study_model
from phasewise.settings.schemas import SCHEMAS, file_schema
from phasewise.settings.space import CategoricalParameter, FixedParameter, RangeParameter

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS))
from hardware import hardware_page  # noqa: E402 - beside this file, which is no package

NOTE = "<!-- written by `python docs/generate.py`; edit the models' descriptions instead -->"

#: Heading, models under it, and what comes first.
PARTS: list[tuple[str, list[type[BaseModel]], str]] = [
    (
        "A study",
        [study_model()],
        "A file that `phasewise run`, `--study` and `snakemake` take. `extends: other.yaml` first "
        "takes over another study; `key: null` takes back what is inherited.",
    ),
    ("A task", [TaskSettings], "`shared/tasks/NAME.yaml`, or under `tasks:` of a study."),
    (
        "A method",
        [MethodSettings],
        "`shared/methods/NAME.yaml`; a study changes any key under `methods:`, where `base: NAME` "
        "makes a variant of a registered method.",
    ),
    (
        "Hyperparameters",
        [Hyperparameters],
        "What `defaults` of a method and `search.fixed` of a study hold, and a search space draws.",
    ),
    (
        "A search space",
        [RangeParameter, CategoricalParameter, FixedParameter],
        "`shared/spaces/NAME.yaml`, or a path. `spaces:` holds a section per method, each "
        "`hyperparameter: {type: …}`; or `training:`, `lora:` and `data:` hold one space for all "
        "methods. `constraints:` lists comparisons that every draw meets, such as `alpha >= r`.",
    ),
    ("A preset", [PresetSettings], "`shared/presets/NAME.yaml`, for `phasewise preset`."),
    ("A strategy", [StrategySettings], "`shared/strategies/NAME.yaml`; may say `extends: NAME`."),
    ("A focus", [FocusSettings], "`shared/focuses/NAME.yaml`."),
    (
        "A suite",
        [Suite, Experiment],
        "`shared/suites/NAME.yaml`, or a path, for `phasewise ablate`. Hyperparameters may stand "
        "above `experiments:`, for all of them, or in each.",
    ),
]
#: Heading, columns and rows of the names that settings take.
NAMES: list[tuple[str, list[str], list[tuple[str, ...]]]] = [
    (
        "Samplers",
        ["search.sampler", "draws trials by"],
        [(name, row.words.format(start="n")) for name, row in all_samplers().items()],
    ),
    (
        "Pruners",
        ["search.pruner", "stops trials by"],
        [(name, row.words or "nothing: every trial ends") for name, row in PRUNERS.items()],
    ),
    (
        "Metrics",
        ["metric", "is the", "of", "better"],
        [
            (
                name,
                row.words,
                ", ".join(row.kinds),
                "lower" if row.direction == "minimize" else "higher",
            )
            for name, row in METRICS.items()
        ],
    ),
]
INTRO = """# Every setting

Keys with their type, default and meaning, from the models that read them. A key that is not here
is refused with the nearest right one. *Not hashed* marks a key that is no part of what makes two
runs the same, and says why: changing it alone trains nothing again.

An editor completes and checks these files by their JSON schemas, if the first line of a file is

```yaml
# yaml-language-server: $schema=../schemas/study.json
```

(VS Code with its YAML extension, Neovim, JetBrains; a path is relative to the file.) The schemas
are [study](../schemas/study.json), [task](../schemas/task.json), [method](../schemas/method.json)
and [space](../schemas/space.json); `phasewise schemas DIR` writes those of your version.
`phasewise check --study FILE` says more: it also reads the files, the data and the model."""

READING = """# The report for readers who are no statisticians

A score is the result of an experiment: another seed, or other examples, would have given another
score. The report asks of every difference: would chance alone give one as large?

**Read the verdict first.** *A beats B* means that the difference is larger than chance explains,
even though several comparisons were made. *Cannot be told apart* means that it may be chance, not
that both are equal: a larger study might tell them apart. Next to it stands the smallest difference
that this study could have found; if that is larger than what matters to you, the study was too
small.

**Then the interval.** It says how large the difference may be. One from +0.001 to +0.04 shows
that A is better, and leaves open whether that is worth anything.

**Do not compare scores of the search set** with those of the report set. The optimum was chosen
because it did well on the search set, partly by luck, so its score there is too good; the column of
confirmed scores says how much of it was luck.

**What makes verdicts sharper**: more report rows first, then more seeds in Phase 2.
`phasewise plan --difference 0.015` says what a study can detect before anything trains. How it is
computed is in [the design page](../design/statistics.md)."""


def settings_page() -> str:
    """Returns the page of all settings."""
    lines = [INTRO.replace("\n\n", f"\n\n{NOTE}\n\n", 1)]
    for heading, models, words in PARTS:
        lines += [f"## {heading}", words]
        for model in models:
            title = None if model is models[0] and len(models) == 1 else _plain(model)
            lines += _describe(model, title)
    for heading, columns, rows in NAMES:
        table = [f"| {' | '.join(columns)} |", "| --- " * len(columns) + "|"]
        table += [f"| `{name}` | {' | '.join(cells)} |" for name, *cells in rows]
        lines += [f"## {heading}", "\n".join(table)]
    return "\n\n".join(lines) + "\n"


def _plain(model: type[BaseModel]) -> str:
    """Returns the first sentence of what a model says of itself."""
    return " ".join((model.__doc__ or model.__name__).split("\n\n")[0].split()).replace("``", "`")


def sections_of(model: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    """Yields the keys of a model that are sections themselves, with their models."""
    for key, field in model.model_fields.items():
        for each in _models_in(field.annotation):
            yield key, each


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    found = [_models_in(each) for each in getattr(annotation, "__args__", ())]
    return [model for models in found for model in models]


def _describe(model: type[BaseModel], title: str | None, prefix: str = "") -> Iterator[str]:
    if title:
        yield f"### {title}"
    schema = model.model_json_schema()
    rows = ["| key | type | default | meaning |", "| --- | --- | --- | --- |"]
    for key, field in model.model_fields.items():
        kind = _type(schema["properties"][key], schema.get("$defs", {}))
        rows.append(f"| `{prefix}{key}` | {kind} | {_default(field)} | {_meaning(field)} |")
    yield "\n".join(rows)
    if model is Suite:  # its experiments have a table of their own
        return
    for key, section in sections_of(model):
        yield from _describe(section, f"`{prefix}{key}`: {_plain(section)}", f"{prefix}{key}.")


def _meaning(field: Any) -> str:
    words = field.description or " ".join(_plain(each) for each in _models_in(field.annotation)[:1])
    extra = field.json_schema_extra
    if isinstance(extra, dict) and "no_effect" in extra:
        words += f" *Not hashed: {extra['no_effect']}.*"
    return words.replace("|", "\\|").replace("<", "&lt;").replace("$", "&#36;")


def _default(field: Any) -> str:
    if field.is_required():
        return "needed"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return "see below"
    if value is PydanticUndefined or value in ("", (), {}):
        return "empty"
    shown = str(value) if isinstance(value, Path | str) else json.dumps(value, default=str)
    return f"`{shown}`"


def _type(schema: dict[str, Any], definitions: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return _type(definitions[name], definitions)
    if options := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(dict.fromkeys(_type(each, definitions) for each in options))
    if "enum" in schema:
        return ", ".join(f"`{each}`" for each in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    kind = schema.get("type")
    if kind == "array":
        return f"list of {_type(schema.get('items', {}), definitions)}"
    if kind == "object" and "properties" not in schema:
        return "mapping"
    return {
        "integer": "whole number",
        "number": "number",
        "string": "text",
        "boolean": "true, false",
        "null": "null",
        "object": "section",
    }.get(str(kind), "any") + _bounds(schema)


def _bounds(schema: dict[str, Any]) -> str:
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    found = [f"{sign} {schema[key]:g}" for key, sign in signs.items() if key in schema]
    return f" {', '.join(found)}" if found else ""


def commands_page() -> str:
    """Returns the page of all commands and their options."""
    group: Any = typer.main.get_command(app)
    lines = ["# Every command", "`phasewise COMMAND --help` says the same."]
    for name, command in sorted(group.commands.items()):
        lines += [f"## {name}", str(command.help).split("\f")[0].strip()]
        rows = ["| option | meaning |", "| --- | --- |"]
        for parameter in command.params:
            if text := _option(parameter):
                rows.append(text)
        lines.append("\n".join(rows))
    return "\n\n".join(lines) + "\n"


def _option(parameter: Any) -> str:
    names = ", ".join(f"`{name}`" for name in parameter.opts)
    if parameter.param_type_name == "argument":
        names = f"`{(parameter.metavar or parameter.name).upper()}`"
    if "--help" in parameter.opts:
        return ""
    words = str(parameter.help or "").replace("|", "\\|").replace("<", "&lt;")
    default = parameter.default
    shown = default if isinstance(default, str | int | float | Path) else None
    if shown is not None and not isinstance(shown, bool) and f"{shown}" and "efault" not in words:
        words += f" Default: `{shown}`."
    return f"| {names}{' (needed)' if parameter.required else ''} | {words} |"


def terms_page() -> str:
    """Returns the page of the report's terms, and how to read a verdict."""
    rows = [f"| {term} | {meaning} |" for term, meaning in TERMS.items()]
    table = "\n".join(["| term | means |", "| --- | --- |", *rows])
    return f"{READING}\n\n## Terms\n\n{NOTE}\n\n{table}\n"


def generated_files() -> dict[Path, str]:
    """Returns every file that follows from the code, with its content."""
    schemas = {
        DOCS / "schemas" / f"{kind}.json": json.dumps(file_schema(kind), indent=1) + "\n"
        for kind in SCHEMAS
    }
    reference = DOCS / "reference"
    pages = {
        reference / "settings.md": settings_page(),
        reference / "terms.md": terms_page(),
        reference / "hardware.md": hardware_page(NOTE.replace("models' descriptions", "code")),
    }
    return {**pages, **schemas}


def on_files(files: Any, config: Any) -> Any:
    """Adds the page of all commands to a site that mkdocs builds."""
    from mkdocs.structure.files import File

    files.append(File.generated(config, "reference/commands.md", content=commands_page()))
    return files


if __name__ == "__main__":
    for path, text in generated_files().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(path)
