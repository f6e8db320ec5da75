"""The study that refines another, as ``phasewise search --refine-trials`` writes it."""

from pathlib import Path

from phasewise.recipes.study_writer import write_study
from phasewise.settings import load_study

#: Folder, beside a study, of the one that a command writes to refine it.
REFINED_FOLDER = "refined"


def write_refined_study(path: Path, trials: int) -> Path:
    """Writes a study that refines another, into a folder beside it; returns its file.

    It differs in its name, its trials and where it writes.

    Args:
        path: The study whose search comes first.
        trials: Of the refined search.
    """
    study, folder = load_study(path), path.parent / REFINED_FOLDER
    space = study.settings.search.space
    content = {
        "extends": f"../{path.name}",
        "name": f"{study.settings.name}_{REFINED_FOLDER}",
        "search": {
            "refine_from": f"../{path.name}",
            "trials": trials,
            "space": f"../{space}" if space.endswith((".yaml", ".yml")) else space,
        },
    }
    return write_study(folder, content, file=path.name)
