"""``phasewise sync``: the study's runs on Weights & Biases, complete and verified."""

import os
from typing import Annotated

import typer

from phasewise.cli.options import DEFAULT_STUDY, StudyOption, load_owned
from phasewise.errors import ConfigError, PhasewiseError

_MOST_SHOWN = 10


def sync(
    study: StudyOption = DEFAULT_STUDY,
    again: Annotated[
        bool, typer.Option("--again", help="Ask for runs that were verified before, too.")
    ] = False,
) -> None:
    """Bring all runs to Weights & Biases and check that it has them; may be repeated."""
    loaded = load_owned(study)
    from phasewise.tracking.marker import has_key
    from phasewise.tracking.sync import sync_study
    from phasewise.tracking.wandb_run import limit_waiting

    if not has_key(os.environ):
        server = os.environ.get("WANDB_BASE_URL", "W&B")
        raise ConfigError(
            f"no key for {server}: run `wandb login` or set WANDB_API_KEY, then again"
        )
    os.environ.pop("WANDB_MODE", None)  # the command itself says that runs are to be sent
    os.environ["WANDB_SILENT"] = "true"
    limit_waiting()
    result = sync_study(loaded, again=again, say=typer.echo)
    running = f", {result.running} under way" if result.running else ""
    typer.echo(f"{result.verified} runs complete on the server{running}")
    if result.problems:
        rest = len(result.problems) - _MOST_SHOWN
        more = [f"and {rest} more"] if rest > 0 else []
        raise PhasewiseError("\n".join([*result.problems[:_MOST_SHOWN], *more]))
