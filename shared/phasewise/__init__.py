"""Fine-tuning studies: baselines, hyperparameter search, multi-seed validation and a report."""

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from phasewise.results import StudyResults

__all__ = ["__version__", "load"]

__version__ = "0.1.0"

# Peft imports bitsandbytes, which warns of a kernel that 4-bit products on a CPU can do without, in
# every command; and it says a line per product in int8.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)


def load(path: "Path | str", vm: str = "all") -> "StudyResults":
    """Returns a study's results as pandas tables: ``runs()``, ``trials()``, ``verdicts()``.

    Args:
        path: The study's YAML file, or a name of `phasewise list studies`. Results are looked for
            in ``experiments/`` of the current folder, as the commands do.
        vm: A shard of the study; ``all``: every unit.

    Raises:
        ConfigError: The file, or the shard, is wrong; see ``load_study``.
    """
    from phasewise.results import load_results  # brings pydantic: `import phasewise` is free

    return load_results(path, vm)
