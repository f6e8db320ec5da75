"""Reads a split from the Hugging Face hub, or from its cache when the hub does not answer."""

from pathlib import Path
from typing import Any

from phasewise.errors import DataError
from phasewise.hub import answers, hub_endpoint, is_offline_wanted
from phasewise.settings import HubSource
from phasewise.tasks.table import RowTable


def read_hub(source: HubSource, split: str) -> RowTable:
    """Returns the rows of a split at the source's revision.

    Args:
        source: ``path`` may also be a local folder that ``datasets`` can read.
        split: Name of the split.

    Raises:
        DataError: The hub does not answer and the cache lacks this revision; no such data set,
            configuration, revision or split; unreadable files.
    """
    local = Path(source.path).is_dir()
    online = local or (not is_offline_wanted() and answers(hub_endpoint()))
    try:
        data = _load(source, split, offline=not online)
    except ValueError as error:  # datasets: unknown configuration or split
        raise DataError(f"{_name(source)}: {_first_line(error)}") from error
    except (OSError, RuntimeError) as error:
        raise _explain(source, error, online=online) from error
    rows = data.to_list()
    origin = f"{_name(source)} split '{split}'"
    if not rows:
        raise DataError(f"{origin}: expected data rows, it has none")
    return RowTable(origin, rows, range(1, len(rows) + 1), "row")


def _load(source: HubSource, split: str, *, offline: bool) -> Any:
    import datasets

    before = datasets.config.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = before or offline
    bars = datasets.utils.logging.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        data = datasets.load_dataset(
            source.path, source.config, split=split, revision=source.revision
        )
    finally:
        datasets.config.HF_HUB_OFFLINE = before
        if bars:
            datasets.enable_progress_bars()
    if offline:
        _check_cached_revision(source, data)
    return data


def _check_cached_revision(source: HubSource, data: Any) -> None:
    """Off line ``datasets`` takes the newest copy in its cache, whatever revision was asked for."""
    folders = {Path(file["filename"]).parent.name for file in data.cache_files}
    if folders and source.revision not in folders:
        raise DataError(
            f"{_name(source)}: the cache holds revision {', '.join(sorted(folders))} and the hub "
            "cannot be reached; connect once, or set PHASEWISE_DATA to a folder with the data"
        )


def _explain(source: HubSource, error: Exception, *, online: bool) -> DataError:
    name = _name(source)
    if online:
        return DataError(f"{name}: {_first_line(error)}")
    why = "HF_HUB_OFFLINE is set" if is_offline_wanted() else f"{hub_endpoint()} does not answer"
    return DataError(
        f"{name}: {why} and the data are not in the cache; to work offline set "
        "PHASEWISE_DATA=<dir> with <dir>/<task>/<split>.jsonl, or fill the cache on a connected "
        "machine, copy it and set HF_HUB_OFFLINE=1"
    )


def _name(source: HubSource) -> str:
    config = f"/{source.config}" if source.config else ""
    return f"hub data set {source.path}{config}@{source.revision[:12]}"


def _first_line(error: BaseException) -> str:
    """Returns the innermost reason; ``datasets`` keeps the real one in ``__cause__``."""
    while error.__cause__ is not None:
        error = error.__cause__
    return (str(error).strip().split("\n") or [""])[0] or type(error).__name__
