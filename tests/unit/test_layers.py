"""Imports point down the list of docs/design; what the report needs loads without torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "shared" / "phasewise"

#: From the bottom up; a part imports only parts before it, or itself.
LAYERS = [
    "errors",
    "extensions",
    "samplers",
    "pruners",
    "hub",
    "seeding",
    "settings",
    "model_files",
    "provenance",
    "runs",
    "records",
    "checkpoints",
    "live",
    "summaries",
    "unit_runs",
    "steps",
    "tasks",
    "methods",
    "training",
    "statistics",
    "formatting",
    "example_values",
    "learning",
    "tuning",
    "inference",
    "figures",
    "tracking",
    "merging",
    "report",
    "dashboard",
    "results",
    "cli",
    "recipes",
]
#: Parts that stand side by side: neither imports the other.
STRANGERS = [("methods", "tasks"), ("figures", "training"), ("report", "training")]


def _imports(file: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def _parts(file: Path) -> set[str]:
    return {name.split(".")[1] for name in _imports(file) if name.startswith("phasewise.")}


def _files(part: str) -> list[Path]:
    folder = PACKAGE / part
    return sorted(folder.rglob("*.py")) if folder.is_dir() else [PACKAGE / f"{part}.py"]


@pytest.mark.parametrize("part", LAYERS)
def test_imports_point_down(part: str) -> None:
    allowed = set(LAYERS[: LAYERS.index(part) + 1])
    for file in _files(part):
        assert _parts(file) <= allowed, f"{file.name} imports {_parts(file) - allowed}"


@pytest.mark.parametrize(("part", "other"), STRANGERS)
def test_strangers_never_import_each_other(part: str, other: str) -> None:
    assert not any(other in _parts(file) for file in _files(part))


def test_package_never_imports_snakemake() -> None:
    files = [file for part in LAYERS for file in _files(part)]
    assert len(files) > 30
    assert not [f.name for f in files if any(n.startswith("snakemake") for n in _imports(f))]


@pytest.mark.parametrize("part", ["settings", "runs", "statistics", "figures", "report", "tuning"])
def test_light_parts_load_without_torch(part: str) -> None:
    code = (
        f"import sys, phasewise.{part}; "
        "sys.exit(','.join({'torch', 'transformers', 'peft'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_every_module_is_short_and_names_what_it_holds() -> None:
    for file in PACKAGE.rglob("*.py"):
        assert file.read_text(encoding="utf-8").count("\n") <= 300, file
        assert file.stem not in {"utils", "helpers", "common", "misc"}, file
