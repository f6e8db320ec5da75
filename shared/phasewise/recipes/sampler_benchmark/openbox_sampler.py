"""OpenBox's Gaussian process (Jiang et al., JMLR 25, 2024) in a process of its own Python.

OpenBox 0.9.0 pins numpy 1.26, pandas 2.1 and scikit-learn 1.3.2, which cannot be installed beside
what this package needs. So it lives in an environment of its own, whose Python the variable
PHASEWISE_OPENBOX_PYTHON names, and answers over a pipe (``openbox_child.py``).
"""

import atexit
import json
import os
import select
import subprocess
import tempfile
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import IO, Any

from optuna.samplers import BaseSampler
from optuna.trial import TrialState

from phasewise.errors import ConfigError, PhasewiseError
from phasewise.recipes.sampler_benchmark.guest_sampler import (
    Coordinates,
    GuestSampler,
    SuggestRequest,
    fill_missing,
    worst_loss,
)

PYTHON_VARIABLE = "PHASEWISE_OPENBOX_PYTHON"
#: Told trials that OpenBox's asynchronous advisor wants before it models (its ``bo_start_n``).
OPENBOX_STARTUP = 3
#: Loading OpenBox takes 7 s on a busy laptop, fitting its process to 200 trials 20 s.
_PATIENCE_SECONDS = 300.0
_INSTALL = (
    "sampler openbox needs OpenBox in a Python of its own, since it pins older numpy and "
    "pandas: python3.11 -m venv .openbox && .openbox/bin/pip install openbox==0.9.0, then "
    f"export {PYTHON_VARIABLE}=.openbox/bin/python"
)


def build_openbox(seed: int) -> BaseSampler:
    """Returns the sampler for one draw; the first starts OpenBox's process.

    Raises:
        ConfigError: The variable names no Python with OpenBox.
    """
    require_openbox()
    child = _start(os.environ[PYTHON_VARIABLE])

    def propose(request: SuggestRequest) -> Iterator[Coordinates]:
        content = _describe(request)
        while True:
            yield child.ask(content)
            content = {"again": True}

    states = (TrialState.COMPLETE,)
    return GuestSampler(propose, startup=OPENBOX_STARTUP, states=states, seed=seed)


def require_openbox() -> None:
    """Checks that the variable names a Python with OpenBox, without the seconds of importing it.

    Raises:
        ConfigError: It does not; what to install is told.
    """
    python = os.environ.get(PYTHON_VARIABLE, "")
    if not python:
        raise ConfigError(f"{_INSTALL} ({PYTHON_VARIABLE} is not set)")
    code = "import importlib.util as u, sys; sys.exit(u.find_spec('openbox') is None)"
    try:
        found = subprocess.run([python, "-c", code], capture_output=True, timeout=_PATIENCE_SECONDS)
    except OSError as error:
        raise ConfigError(f"{_INSTALL} ({PYTHON_VARIABLE}={python}: {error})") from error
    if found.returncode:
        raise ConfigError(f"{_INSTALL} ({PYTHON_VARIABLE}={python}: it has no package openbox)")


def _describe(request: SuggestRequest) -> dict[str, Any]:
    worst = worst_loss(request.ended)
    return {
        "axes": [[name, *axis] for name, axis in sorted(request.axes.items())],
        "ended": [
            # OpenBox gives a failed trial the worst loss itself, but wants a number.
            (
                fill_missing(request.axes, each.coordinates),
                worst if each.loss is None else each.loss,
                each.loss is not None,
            )
            for each in request.ended
        ],
        "running": [fill_missing(request.axes, each) for each in request.running],
        "seed": request.seed % 2**31,
    }


@cache
def _start(python: str) -> "_Child":
    child = _Child(python)
    atexit.register(child.close)
    return child


class _Child:
    """OpenBox's process: one line asked, one line answered."""

    def __init__(self, python: str) -> None:
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115, closed with the process
        script = Path(__file__).with_name("openbox_child.py")
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        environment.pop("PYTHONPATH", None)  # this environment's packages are not the child's
        try:
            self._process = subprocess.Popen(
                [python, str(script)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env=environment,
            )
            self._read()
        except (OSError, PhasewiseError) as error:
            raise ConfigError(f"{_INSTALL} ({PYTHON_VARIABLE}={python}: {error})") from error

    def ask(self, content: dict[str, Any]) -> Coordinates:
        """Returns the answer to one request.

        Raises:
            PhasewiseError: OpenBox failed; its own words are told.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(content).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise PhasewiseError(f"OpenBox's process has ended: {self._last_words()}") from None
        answer = self._read()
        if "error" in answer:
            raise PhasewiseError(f"OpenBox could not propose a trial: {answer['error']}")
        coordinates: Coordinates = answer["coordinates"]
        return coordinates

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.terminate()
        self._process.wait()
        self._errors.close()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        pipe, line, deadline = self._process.stdout.fileno(), b"", time.monotonic()
        deadline += _PATIENCE_SECONDS
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise PhasewiseError(f"OpenBox gave no answer within {_PATIENCE_SECONDS:.0f} s")
            part = os.read(pipe, 65536)
            if not part:
                raise PhasewiseError(f"OpenBox's process has ended: {self._last_words()}")
            line += part
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _last_words(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "no message"
