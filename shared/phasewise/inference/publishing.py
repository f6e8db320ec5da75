"""Puts a model folder on the Hugging Face hub; only ever on demand."""

import os
from pathlib import Path
from typing import Any

from phasewise.errors import ConfigError, PhasewiseError
from phasewise.hub import answers, hub_endpoint, is_offline_wanted


def push_to_hub(folder: Path, repository: str, *, private: bool = True, api: Any = None) -> str:
    """Uploads a folder and returns its address.

    The token comes from ``HF_TOKEN`` or from ``hf auth login``; it is never written anywhere.

    Args:
        folder: A model folder, or one that holds several.
        repository: ``user/name``; made if it is not there.
        private: Whether a new repository is private.
        api: A stand-in for ``huggingface_hub.HfApi``.

    Raises:
        ConfigError: ``repository`` is not ``user/name``, or the environment forbids the hub.
        PhasewiseError: The hub does not answer, or refuses.
    """
    if repository.count("/") != 1 or not all(repository.split("/")):
        raise ConfigError(f"--push-to-hub: expected user/name, got {repository!r}")
    api = _open_hub() if api is None else api
    try:
        api.create_repo(repository, private=private, exist_ok=True, repo_type="model")
        done = api.upload_folder(
            repo_id=repository,
            folder_path=str(folder),
            repo_type="model",
            commit_message="Model trained by phasewise",
        )
    except (OSError, ValueError) as error:  # huggingface_hub's errors are OSErrors
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise PhasewiseError(
            f"{folder}: not uploaded to {repository}: {reason}; the folder is complete: "
            f"hf upload {repository} {folder}"
        ) from error
    return str(done)


def _open_hub() -> Any:
    if is_offline_wanted():
        raise ConfigError("--push-to-hub: HF_HUB_OFFLINE is set; unset it, or leave the flag out")
    if not answers(hub_endpoint()):
        raise PhasewiseError(f"--push-to-hub: the hub ({hub_endpoint()}) does not answer")
    from huggingface_hub import HfApi

    return HfApi(token=os.environ.get("HF_TOKEN"))
