"""What is fetched or converted once: the hub's reach, found out first, and the cache folder."""

import os
import threading
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path

from phasewise.errors import hide_secrets

#: Without a probe a missing hub costs 23 s (its client retries), a silent one over 250 s.
PROBE_SECONDS = 3.0


def cache_folder() -> Path:
    """Returns the folder of all cached data: ``PHASEWISE_CACHE`` or ``~/.cache/phasewise``."""
    named = os.environ.get("PHASEWISE_CACHE")
    return Path(named) if named else Path.home() / ".cache" / "phasewise"


def is_offline_wanted() -> bool:
    """Returns whether the environment forbids asking the hub."""
    return any(
        os.environ.get(name, "").upper() in {"1", "ON", "YES", "TRUE"}
        for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")
    )


def hub_endpoint() -> str:
    """Returns the hub's address: ``HF_ENDPOINT``, or the library's own."""
    from huggingface_hub import constants

    return constants.ENDPOINT.rstrip("/")


def answers(endpoint: str, seconds: float = PROBE_SECONDS) -> bool:
    """Returns whether a server sends any HTTP answer within about ``seconds``.

    Proxies in the environment are used. The request runs in a thread, since a time limit on a
    socket does not bound the name look-up.
    """
    answered = threading.Event()
    bare = hide_secrets(endpoint, "")  # urllib takes a user for a port

    def _ask() -> None:
        try:
            with urllib.request.urlopen(f"{bare}/", timeout=seconds):
                answered.set()
        except urllib.error.HTTPError:
            answered.set()  # refused, but there
        except (OSError, ValueError, HTTPException):
            return

    thread = threading.Thread(target=_ask, daemon=True)
    thread.start()
    thread.join(seconds * 1.5)
    return answered.is_set()
