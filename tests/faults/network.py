"""Two machines and a database host that share nothing but their network, which can be cut."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

#: Of the network namespaces; other tests on this machine may have theirs.
_DATABASE = f"phasewise-{os.getpid()}-db"
_MACHINES = f"phasewise-{os.getpid()}-vm1", f"phasewise-{os.getpid()}-vm2"
_PROBE = f"phasewise-{os.getpid()}-probe"
HOST = "10.99.7.1"


def is_possible() -> bool:
    """Whether this machine lets one make network namespaces."""
    if shutil.which("ip") is None or os.geteuid() != 0:
        return False
    made = subprocess.run(["ip", "netns", "add", _PROBE], capture_output=True).returncode == 0
    if made:
        subprocess.run(["ip", "netns", "del", _PROBE], capture_output=True)
    return made


def within(name: str) -> tuple[str, ...]:
    """Returns what runs a command in a namespace."""
    return "ip", "netns", "exec", name


@contextmanager
def make_network() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Gives the names of the database's and the machines' namespaces."""
    try:
        _ip("netns", "add", _DATABASE)
        _inside(_DATABASE, "link", "add", "br0", "type", "bridge")
        _inside(_DATABASE, "addr", "add", f"{HOST}/24", "dev", "br0")
        for link in ("br0", "lo"):
            _inside(_DATABASE, "link", "set", link, "up")
        for number, name in enumerate(_MACHINES, start=1):
            _ip("netns", "add", name)
            peer = ("type", "veth", "peer", "name", f"p{number}", "netns", _DATABASE)
            _ip("link", "add", "e0", "netns", name, *peer)
            _inside(name, "addr", "add", f"10.99.7.1{number}/24", "dev", "e0")
            for link in ("e0", "lo"):
                _inside(name, "link", "set", link, "up")
            _inside(_DATABASE, "link", "set", f"p{number}", "master", "br0")
            _inside(_DATABASE, "link", "set", f"p{number}", "up")
        yield _DATABASE, _MACHINES
    finally:
        for name in (*_MACHINES, _DATABASE):
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


def set_link(machine: str, state: str) -> None:
    """Cuts a machine off (``down``), or joins it again (``up``)."""
    _inside(machine, "link", "set", "e0", state)


def _inside(name: str, *words: str) -> None:
    _ip("-n", name, *words)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
