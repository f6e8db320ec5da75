"""What is fetched or converted once: the hub's reach, found out first, and the cache folder."""

import os
import threading
import urllib.error
import urllib.request
from pathlib import Path

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

    def _ask() -> None:
        try:
            with urllib.request.urlopen(f"{endpoint}/", timeout=seconds):
                answered.set()
        except urllib.error.HTTPError:
            answered.set()  # refused, but there
        except OSError:
            return

    thread = threading.Thread(target=_ask, daemon=True)
    thread.start()
    thread.join(seconds * 1.5)
    return answered.is_set()
