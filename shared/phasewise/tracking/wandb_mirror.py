"""One record becomes one Weights & Biases run; a marker beside the record says that it has."""

import contextlib
import netrc
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationError

from phasewise.records import RunRecord, write_atomically
from phasewise.runs import Phase, hash_content
from phasewise.settings import Section

Mode = Literal["online", "offline"]

MARKER_FILE = "wandb.json"
_DEFAULT_SERVER = "https://api.wandb.ai"


class MirrorPlan(Section):
    """Where the runs of a study go."""

    folder: Path = Field(description="Holds wandb/, where runs are written: experiments/<study>.")
    entity: str | None = Field(description="Team or user; None: the key's default.")
    projects: dict[Phase, str]


class MirrorMarker(Section):
    """``wandb.json`` beside a record: the run that mirrors it."""

    id: str
    hash: str = Field(description="Of the record that was mirrored.")
    project: str
    mode: Mode = Field(description="offline: written to disk, not yet on a server.")


def run_id(record: RunRecord) -> str:
    """Returns the id of a record's run: the same on every machine and after every resume."""
    config = record.config
    unit = config.unit_config
    return hash_content([unit.study, unit.unit, config.phase, config.name, record.hash])


def read_marker(folder: Path) -> MirrorMarker | None:
    """Returns the marker in a run's folder; None if there is none that can be read."""
    try:
        return MirrorMarker.model_validate_json((folder / MARKER_FILE).read_text("utf-8"))
    except (OSError, ValidationError, UnicodeDecodeError):
        return None


def choose_mode(environment: Mapping[str, str]) -> Mode:
    """Returns online if there is a key for the server, else offline; ``WANDB_MODE`` decides first.

    Args:
        environment: ``WANDB_MODE``, ``WANDB_API_KEY``, ``WANDB_BASE_URL`` and ``NETRC`` are read.
    """
    wanted = environment.get("WANDB_MODE", "")
    if wanted:
        return "online" if wanted in {"online", "run"} else "offline"
    return "online" if environment.get("WANDB_API_KEY") or _in_netrc(environment) else "offline"


def describe_config(record: RunRecord) -> dict[str, Any]:
    """Returns a run's configuration: hyperparameters flat, the rest by section."""
    unit = record.config.unit_config
    return {
        **record.config.hyperparameters.model_dump(mode="json"),
        "task": unit.task.name,
        "method": unit.method.name,
        "study": unit.study,
        "phase": record.config.phase,
        "seeds": record.config.seeds.model_dump(mode="json"),
        "hash": record.hash,
        "model": unit.model.model_dump(mode="json"),
        "task_settings": unit.task.model_dump(mode="json"),
        "method_settings": unit.method.model_dump(mode="json"),
        "training": unit.training.model_dump(mode="json"),
        "environment": record.environment,
        "started": record.started,
        "ended": record.ended,
    }


def list_steps(record: RunRecord) -> list[tuple[int, dict[str, float]]]:
    """Returns (optimizer step, metrics) in order; a step is listed once, as W&B demands."""
    steps: dict[int, dict[str, float]] = {}
    for point in record.train_points:
        row = steps.setdefault(point.step, {})
        row |= {"train/loss": point.loss, "train/learning_rate": point.learning_rate}
    for evaluation in record.evaluations:
        row = steps.setdefault(evaluation.step, {})
        row |= {"epoch": evaluation.epoch}
        row |= {f"search/{name}": value for name, value in evaluation.metrics.items()}
        row |= {f"train/{name}": value for name, value in evaluation.train_metrics.items()}
        if evaluation.train_loss is not None:
            row["train/mean_loss"] = evaluation.train_loss
    return sorted(steps.items())


def list_tags(record: RunRecord) -> list[str]:
    """Returns study, task, method, phase and status, each cut to W&B's 64 characters."""
    unit = record.config.unit_config
    tags = (unit.study, unit.task.name, unit.method.name, record.config.phase, record.status)
    return sorted({tag[:64] for tag in tags})


def describe_summary(record: RunRecord) -> dict[str, Any]:
    """Returns what W&B lists for a run: status, final metrics and cost."""
    summary: dict[str, Any] = {"status": record.status, "message": record.message}
    summary |= {f"final/search/{name}": value for name, value in record.search_metrics.items()}
    summary |= {f"final/report/{name}": value for name, value in record.report_metrics.items()}
    if record.cost is not None:
        cost = record.cost.model_dump(mode="json", exclude_none=True)
        summary |= {f"cost/{name}": value for name, value in cost.items()}
    return summary


def mirror_record(record: RunRecord, folder: Path, plan: MirrorPlan, mode: Mode) -> MirrorMarker:
    """Writes a record as one W&B run, then its marker.

    A run that an earlier attempt left unfinished is replaced: same id, complete content.

    Raises:
        wandb.Error: The server cannot be reached, or refuses the key.
    """
    import wandb

    config = record.config
    identity, project = run_id(record), plan.projects[config.phase]
    _remove_leftovers(plan.folder / "wandb", identity)
    run = wandb.init(
        entity=plan.entity,
        project=project,
        dir=plan.folder,
        id=identity,
        name=f"{config.unit_config.unit} {config.name}",
        group=config.unit_config.unit,
        job_type=config.phase,
        tags=list_tags(record),
        config=describe_config(record),
        mode=mode,
        reinit="create_new",
        settings=_fresh_settings(),
    )
    for step, metrics in list_steps(record):
        run.log(metrics, step=step)
    run.summary.update(describe_summary(record))
    run.finish(exit_code=0 if record.status in {"finished", "pruned"} else 1)
    marker = MirrorMarker(id=identity, hash=record.hash, project=project, mode=mode)
    write_atomically(folder / MARKER_FILE, marker.model_dump_json(indent=2) + "\n")
    return marker


def _fresh_settings() -> Any:
    """Never shared: wandb writes a run's name, tags and group into its Settings."""
    import wandb

    return wandb.Settings(
        silent=True,
        console="off",
        disable_git=True,
        disable_code=True,
        x_disable_stats=True,  # the side process's load says nothing about the trial's
    )


def _remove_leftovers(folder: Path, identity: str) -> None:
    for leftover in folder.glob(f"*run-*-{identity}"):
        shutil.rmtree(leftover, ignore_errors=True)


def _in_netrc(environment: Mapping[str, str]) -> bool:
    host = urlsplit(environment.get("WANDB_BASE_URL") or _DEFAULT_SERVER).hostname or ""
    given = environment.get("NETRC")
    candidates = [Path(given)] if given else [Path.home() / ".netrc", Path.home() / "_netrc"]
    for file in candidates:
        with contextlib.suppress(OSError, netrc.NetrcParseError):
            found = netrc.netrc(os.fspath(file)).authenticators(host)
            return found is not None and bool(found[2])
    return False
