"""Answers one request per line with OpenBox; runs in OpenBox's own Python, without this package.

    PYTHON openbox_child.py

Reads JSON lines: a request (``axes``, ``ended``, ``running``, ``seed``) or ``{"again": true}`` for
another proposal to the last one. Writes ``{"ready": version}`` first, then one line per answer:
``{"coordinates": …}`` or ``{"error": …}``. Ends with its input.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any, TextIO


def _take_stdout() -> TextIO:
    """Keeps standard output for answers alone: libraries print to it as well."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def _build_advisor(request: dict[str, Any]) -> Any:
    """Returns OpenBox's asynchronous advisor as if it had seen all trials itself."""
    import ConfigSpace  # type: ignore[import-not-found]
    from openbox import Observation, space  # type: ignore[import-not-found]
    from openbox.core.async_batch_advisor import (  # type: ignore[import-not-found]
        AsyncBatchAdvisor,
    )
    from openbox.utils.constants import FAILED, SUCCESS  # type: ignore[import-not-found]

    box = space.Space()
    box.add_variables([_build_variable(space, *axis) for axis in request["axes"]])
    advisor = AsyncBatchAdvisor(
        box,
        batch_strategy="median_imputation",  # running trials count as scoring the median
        surrogate_type="gp",
        acq_type="ei",
        acq_optimizer_type="local_random",
        initial_trials=1,
        init_strategy="random",
        output_dir=None,
        random_state=request["seed"],
        logger_kwargs={"stream": False},
    )

    def place(coordinates: dict[str, float]) -> Any:
        kinds = {name: kind for name, kind, _ in request["axes"]}
        return ConfigSpace.Configuration(
            box,
            values={k: v if kinds[k] == "continuous" else int(v) for k, v in coordinates.items()},
        )

    for coordinates, loss, finished in request["ended"]:
        state = SUCCESS if finished else FAILED
        observed = Observation(place(coordinates), [loss], trial_state=state)
        advisor.history.update_observation(observed)
    advisor.running_configs.extend(map(place, request["running"]))
    return advisor


def _build_variable(space: Any, name: str, kind: str, size: int) -> Any:
    if kind == "continuous":
        return space.Real(name, 0.0, 1.0)
    if size == 1:
        return space.Constant(name, 0)
    if kind == "ordered":
        return space.Int(name, 0, size - 1)
    return space.Categorical(name, list(range(size)))


def _answer(advisor: Any) -> dict[str, float]:
    # A proposal joins the running trials, so asking again gives one elsewhere.
    return {k: float(v) for k, v in advisor.get_suggestion().get_dictionary().items()}


def main() -> None:
    """Answers until the input ends."""
    answers = _take_stdout()

    def say(content: dict[str, Any]) -> None:
        answers.write(json.dumps(content) + "\n")
        answers.flush()

    import openbox

    say({"ready": openbox.__version__})
    advisor: Any = None
    for line in sys.stdin:
        try:
            request = json.loads(line)
            advisor = advisor if "again" in request else _build_advisor(request)
            say({"coordinates": _answer(advisor)})
        except Exception as error:
            say({"error": f"{type(error).__name__}: {error}"})


if __name__ == "__main__":
    main()
