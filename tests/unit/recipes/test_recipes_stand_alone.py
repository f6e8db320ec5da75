"""The core knows no recipe, and no recipe needs another but where it says so."""

import ast
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from phasewise.extensions import recipe_packages

PACKAGE = Path(__file__).parents[3] / "shared" / "phasewise"
#: Recipe to the commands that it alone brings.
COMMANDS = {
    "file_search": set(),
    "pilot": set(),
    "presets": {"preset"},
    "project": {"init"},
    "refinement": set(),
    "sampler_benchmark": {"benchmark-samplers"},
    "suites": {"ablate", "experiment", "suite-report"},
}
_PROBE = """
import json, sys
from typer.main import get_command
from typer.testing import CliRunner
from phasewise.cli.app import app
from phasewise.settings import load_study
from phasewise.samplers import all_samplers

commands = list(get_command(app).commands)
for command in commands:
    done = CliRunner().invoke(app, [command, "--help"])
    assert done.exit_code == 0, (command, done.output)
study = load_study(sys.argv[1])
units = len(study.units_of("all"))
found = {"commands": commands, "samplers": list(all_samplers()), "units": units}
json.dump(found, sys.stdout)
"""


def _imported(nodes: Iterator[ast.AST]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _recipes_in(names: Iterator[str]) -> set[str]:
    parts = [name.split(".") for name in names if name.startswith("phasewise.recipes.")]
    return {part[2] for part in parts} & set(COMMANDS)


def _parse(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def _copy_without(recipe: str, folder: Path) -> Path:
    """Copies the package without a recipe; the YAML files beside it are linked."""
    shared = folder / "shared"
    shared.mkdir()
    for entry in PACKAGE.parent.iterdir():
        if entry != PACKAGE:
            (shared / entry.name).symlink_to(entry)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PACKAGE, shared / "phasewise", ignore=ignored)
    shutil.rmtree(shared / "phasewise" / "recipes" / recipe)
    return shared


def test_every_recipe_is_listed_here() -> None:
    assert {each.__name__.rpartition(".")[2] for each in recipe_packages()} == set(COMMANDS)


@pytest.mark.parametrize("recipe", COMMANDS)
def test_a_deleted_recipe_takes_only_its_own_commands_along(recipe: str, tmp_path: Path) -> None:
    shared = _copy_without(recipe, tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", _PROBE, str(shared / "config.yaml")],
        env={**os.environ, "PYTHONPATH": str(shared)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    every = set().union(*COMMANDS.values())
    assert every - set(found["commands"]) == COMMANDS[recipe]
    assert {"search", "plan", "validate", "report"} <= set(found["commands"])
    assert found["units"] > 0
    assert ("hyperopt" in found["samplers"]) == (recipe != "sampler_benchmark")


def test_nothing_outside_imports_recipes() -> None:
    for file in PACKAGE.rglob("*.py"):
        if "recipes" not in file.relative_to(PACKAGE).parts:
            names = set(_imported(ast.walk(_parse(file))))
            assert not [name for name in names if name.startswith("phasewise.recipes")], file


def test_what_recipes_share_imports_none_of_them_at_once() -> None:
    for file in (PACKAGE / "recipes").glob("*.py"):
        assert not _recipes_in(_imported(iter(_parse(file).body))), file


@pytest.mark.parametrize("recipe", recipe_packages(), ids=lambda each: each.__name__)
def test_a_recipe_imports_others_inside_functions_and_says_so(recipe: object) -> None:
    own = recipe.__name__.rpartition(".")[2]  # type: ignore[attr-defined]
    declared = set(getattr(recipe, "USES", ()))
    for file in (PACKAGE / "recipes" / own).glob("*.py"):
        tree = _parse(file)
        assert _recipes_in(_imported(iter(tree.body))) <= {own}, file
        assert _recipes_in(_imported(ast.walk(tree))) <= {own, *declared}, file
