"""``wandb.json`` in a run's folder: which Weights & Biases run mirrors it, and how far that is."""

import contextlib
import netrc
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationError

from phasewise.records import write_atomically
from phasewise.runs import Phase, RunConfig, hash_content
from phasewise.settings import SearchSettings, Section

Mode = Literal["online", "offline"]

MARKER_FILE = "wandb.json"
_DEFAULT_SERVER = "https://api.wandb.ai"


class MirrorPlan(Section):
    """Where the runs of a study go, and what is told of them."""

    folder: Path = Field(description="Holds wandb/, where runs are written: experiments/<study>.")
    entity: str | None = Field(description="Team or user; None: the key's default.")
    projects: dict[Phase, str]
    search: SearchSettings = Field(description="Its objective is a key of every run.")


class MirrorMarker(Section):
    """The W&B run of one attempt at a run."""

    id: str
    hash: str = Field(description="Of the run's settings.")
    project: str
    mode: Mode = Field(description="offline: written to disk, not yet on a server.")
    attempt: int = Field(1, ge=1, description="Each that failed or was cut off has a W&B run.")
    state: Literal["running", "ended", "killed"] = Field(
        "ended", description="killed: cut off without a record."
    )
    superseded: bool = Field(False, description="Whether it is tagged so.")
    verified: bool = Field(False, description="The server was asked and has all of it.")
    earlier: tuple["MirrorMarker", ...] = Field((), description="Of attempts before this one.")


def run_id(config: RunConfig, run_hash: str, attempt: int = 1) -> str:
    """Returns the id of an attempt's W&B run: the same on every machine."""
    unit = config.unit_config
    parts = [unit.study, unit.unit, config.phase, config.name, run_hash]
    return hash_content(parts if attempt == 1 else [*parts, attempt])


def read_marker(folder: Path) -> MirrorMarker | None:
    """Returns the marker in a run's folder; None if there is none that can be read."""
    try:
        return MirrorMarker.model_validate_json((folder / MARKER_FILE).read_text("utf-8"))
    except (OSError, ValidationError, UnicodeDecodeError):
        return None


def write_marker(folder: Path, marker: MirrorMarker) -> None:
    """Writes a run's marker, atomically."""
    write_atomically(folder / MARKER_FILE, marker.model_dump_json(indent=2) + "\n")


def is_mirrored(folder: Path, run_hash: str) -> bool:
    """Whether a run with a record has a W&B run that was given all of it."""
    marker = read_marker(folder)
    return marker is not None and marker.state == "ended" and marker.hash == run_hash


def choose_mode(environment: Mapping[str, str]) -> Mode:
    """Returns online if there is a key for the server, else offline; ``WANDB_MODE`` decides first.

    Args:
        environment: ``WANDB_MODE``, ``WANDB_API_KEY``, ``WANDB_BASE_URL`` and ``NETRC`` are read.
    """
    wanted = environment.get("WANDB_MODE", "")
    if wanted:
        return "online" if wanted in {"online", "run"} else "offline"
    return "online" if has_key(environment) else "offline"


def has_key(environment: Mapping[str, str]) -> bool:
    """Whether there is a key for the server; see ``choose_mode``."""
    return bool(environment.get("WANDB_API_KEY")) or _in_netrc(environment)


def _in_netrc(environment: Mapping[str, str]) -> bool:
    host = urlsplit(environment.get("WANDB_BASE_URL") or _DEFAULT_SERVER).hostname or ""
    given = environment.get("NETRC")
    candidates = [Path(given)] if given else [Path.home() / ".netrc", Path.home() / "_netrc"]
    for file in candidates:
        with contextlib.suppress(OSError, netrc.NetrcParseError):
            found = netrc.netrc(os.fspath(file)).authenticators(host)
            return found is not None and bool(found[2])
    return False
