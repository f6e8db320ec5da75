"""Which works a study builds on: keys of ``templates/references.bib``, found from its settings."""

import re
from collections.abc import Iterable
from functools import cache
from importlib.resources import files

from phasewise.settings import MethodSettings, Study

#: Data sets by task name; a task that is not here is named by its source instead.
_TASK_KEYS = {
    "squad_v2": ("rajpurkar2018know",),
    "mrpc": ("dolan2005automatically", "wang2019glue"),
    "sst2": ("socher2013recursive", "wang2019glue"),
    "rte": ("dagan2006pascal", "bentivogli2009fifth", "wang2019glue"),
    "rotten_tomatoes": ("pang2005seeing",),
    "imdb": ("maas2011learning",),
}
#: Models by a part of their name.
_MODEL_KEYS = {
    "minilm": ("wang2020minilm", "reimers2019sentence"),
    "bert-base": ("devlin2019bert",),
    "bert-large": ("devlin2019bert",),
}
#: Tools by the name of the library in a record's environment.
_TOOL_KEYS = {
    "torch": "paszke2019pytorch",
    "transformers": "wolf2020transformers",
    "peft": "mangrulkar2022peft",
    "optuna": "akiba2019optuna",
    "scikit-learn": "pedregosa2011scikit",
    "scipy": "virtanen2020scipy",
}
#: Of every study: the statistics run on SciPy, the phases on Snakemake and Optuna.
TOOLS = ("akiba2019optuna", "virtanen2020scipy", "molder2021sustainable")


def cite(keys: Iterable[str]) -> str:
    """Returns a citation as pandoc reads it, with a space before; empty without keys."""
    found = list(dict.fromkeys(keys))
    return f" [{'; '.join('@' + key for key in found)}]" if found else ""


def list_citations(text: str) -> list[str]:
    """Returns the keys that a text cites, each once, sorted."""
    return sorted(set(re.findall(r"@([a-z]+\d{4}[a-z0-9]+)", text)))


def find_method_keys(method: MethodSettings) -> tuple[str, ...]:
    """Returns the works that a method's ``source`` names by their arXiv numbers."""
    return tuple(key for number in _arxiv_numbers(method) if (key := _keys_by_arxiv().get(number)))


def find_task_keys(task: str) -> tuple[str, ...]:
    """Returns the works that a data set comes from; empty where none is known."""
    return _TASK_KEYS.get(task, ())


def find_model_keys(source: str) -> tuple[str, ...]:
    """Returns the works that a model comes from; empty where none is known."""
    name = source.lower().replace("_", "-")
    return next((keys for part, keys in _MODEL_KEYS.items() if part in name), ())


def find_tool_keys(libraries: Iterable[str]) -> tuple[str, ...]:
    """Returns the tools to cite, of those whose versions the records name."""
    known = [_TOOL_KEYS[name] for name in libraries if name in _TOOL_KEYS]
    return tuple(dict.fromkeys([*known, *TOOLS]))


def list_uncited(study: Study) -> list[str]:
    """Returns what a study uses without a known work to cite, in words."""
    found = []
    if not find_model_keys(study.settings.model.source):
        found.append(f"the model {study.settings.model.source}")
    found += [f"the data of {task}" for task in study.tasks if not find_task_keys(task)]
    for name, method in study.methods.items():
        numbers = _arxiv_numbers(method)
        unknown = [number for number in numbers if number not in _keys_by_arxiv()]
        found += [f"{name} (arXiv {number})" for number in unknown]
        found += [] if numbers else [f"{name} ({method.source})"]
    return found


def collect_bibtex(keys: Iterable[str]) -> str:
    """Returns the entries of the given keys, in their order.

    Raises:
        KeyError: A key is not in references.bib.
    """
    entries = _read_entries()
    return "\n\n".join(entries[key] for key in dict.fromkeys(keys)) + "\n"


def _arxiv_numbers(method: MethodSettings) -> list[str]:
    return re.findall(r"\d{4}\.\d{4,5}", method.source)


@cache
def _keys_by_arxiv() -> dict[str, str]:
    found = {
        key: re.search(r"eprint\s*=\s*\{([^}]+)\}", entry) for key, entry in _read_entries().items()
    }
    return {match[1]: key for key, match in found.items() if match}


@cache
def _read_entries() -> dict[str, str]:
    path = files("phasewise.report").joinpath("templates", "references.bib")
    entries = path.read_text(encoding="utf-8").strip().split("\n\n")
    return {entry.split("{", 1)[1].split(",", 1)[0]: entry for entry in entries}
