"""What suits classifiers smaller than those of the literature, in the studies that we write."""

from typing import Any

from phasewise.methods.model_shape import read_shape
from phasewise.settings import ModelSettings

#: Below so many weights the published rates leave a model at the majority class.
_SMALL_WEIGHTS = 50_000_000
SMALL_SPACE = "small_encoder"
_ADAPTER = {
    "learning_rate": 1.2e-3,
    "batch_size": 4,
    "epochs": 3,
    "warmup_ratio": 0.1,
    "target_modules": "all",
}
#: Method to where it begins to learn, measured with MiniLM as the ranges of the space were.
_DEFAULTS = {
    "full_finetune": {"learning_rate": 1.5e-4, "batch_size": 16, "epochs": 3},
    "lora": _ADAPTER,
    "dora": _ADAPTER,
}


def fit_space(default: str, model: dict[str, Any]) -> str:
    """Returns the name of the space for a classifier of this size.

    Args:
        default: Name of the space for models of other size, or of one that is not known: a hub's
            that is still to be fetched.
        model: The study's ``model`` section.
    """
    shape = read_shape(ModelSettings(**model))
    return SMALL_SPACE if shape and shape.weights < _SMALL_WEIGHTS else default


def fit_defaults(space: str, method: str) -> dict[str, Any]:
    """Returns the method's section of the study: what Phase 0 and the search begin with."""
    begins = _DEFAULTS.get(method) if space == SMALL_SPACE else None
    return {"defaults": begins} if begins else {}
