"""``phasewise run``: a whole study through Snakemake, for those who do not know it."""

import os
import shlex
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from phasewise.cli.options import DEFAULT_STUDY, load_owned
from phasewise.errors import ConfigError, suggest_nearest
from phasewise.settings import ALL_SHARD, BUNDLED

#: The profile of a machine that runs every task.
_LOCAL = "local"
_PROFILES, _SNAKEFILE = Path("profiles"), Path("Snakefile")


def run(
    context: typer.Context,
    study: Annotated[
        Path, typer.Argument(help="The study's YAML file, or a name of `phasewise list studies`.")
    ] = DEFAULT_STUDY,
    vm: Annotated[
        str | None, typer.Option("--vm", help="This machine's shard. Default: every task.")
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(help="A folder, or a name in profiles/. Default: the shard's, or local."),
    ] = None,
) -> NoReturn:
    """Run a study to its report with Snakemake; run it again to resume.

    Options of snakemake pass through: `-n` lists what would run, `--unlock` frees a folder.
    """
    if str(study).startswith("-"):
        raise ConfigError(f"expected the study before options of snakemake: run STUDY {study}")
    load_owned(study).tasks_of(vm or ALL_SHARD)  # both are refused here in one line
    if find_spec("snakemake") is None:
        raise ConfigError("run needs snakemake; pip install 'snakemake>=9.27'")
    folder = _find_profile(profile or vm or _LOCAL)
    snakefile = _SNAKEFILE if _SNAKEFILE.is_file() else BUNDLED / _SNAKEFILE
    command = [
        *("snakemake", "--snakefile", str(snakefile), "--profile", str(folder)),
        *("--config", f"study={study}", f"vm={vm or ALL_SHARD}"),
        *context.args,
    ]
    typer.echo(shlex.join(command), err=True)
    if _is_locked() and not {"--unlock", "--nolock", "-n", "--dry-run"} & set(context.args):
        typer.echo(
            "snakemake has locked files here: it runs, or was killed. If it refuses and none runs: "
            f"phasewise run {shlex.quote(str(study))} --unlock, then run it again",
            err=True,
        )
    os.execv(sys.executable, [sys.executable, "-m", *command])  # signals and exit code are its own


def _is_locked() -> bool:
    locks = Path(".snakemake/locks")
    return locks.is_dir() and any(locks.iterdir())


def _find_profile(name: str) -> Path:
    """Returns a profile's folder: a path, else the project's own of that name, else Phasewise's."""
    roots = (_PROFILES, BUNDLED / _PROFILES)
    for folder in (Path(name), *(root / name for root in roots)):
        if (folder / "config.yaml").is_file():
            return folder
    known = {file.parent.name for root in roots for file in root.glob("*/config.yaml")}
    raise ConfigError(
        f"no profile '{name}' in {_PROFILES}/{suggest_nearest(name, known)}; copy "
        f"{roots[1] / 'vm1'} to {_PROFILES / name} and set vm: in it, or take --profile {_LOCAL}"
    )
