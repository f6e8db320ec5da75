"""What suits classifiers smaller than those of the literature, in the studies that we write."""

from typing import Any

from phasewise.methods.model_shape import read_shape
from phasewise.settings import ModelSettings

#: Below so many weights the published rates leave a model at the majority class.
_SMALL_WEIGHTS = 50_000_000
SMALL_SPACE = "small_encoder"
#: Few rows are passed more often: so many in all, three epochs at least and six at most.
_ROWS_PASSED, _EPOCHS = 800, (3, 6)
_ADAPTER = {"learning_rate": 6e-4, "batch_size": 4, "warmup_ratio": 0.1, "target_modules": "all"}
#: Method to where it begins to learn, measured with MiniLM as the ranges of the space were. LoRA's
#: mean accuracy on 200 other reviews of rotten_tomatoes, five seeds (lowest): 160 rows, 3 epochs,
#: 6e-4 .63 (.60), 1.2e-3 .67 (.65), 5 epochs, 4e-4 .69 (.67), 6e-4 .69 (.68); 720 rows, 3 epochs,
#: 3e-4 .74 (.73), 6e-4 .74 (.73), 1.2e-3 .69 (.52); 2,400 rows (on 600), 6e-4 .81 (.81). Full
#: fine-tuning, 160 rows: 3 epochs .67 (.64), 5 epochs .70 (.66).
_DEFAULTS: dict[str, dict[str, Any]] = {
    "full_finetune": {"learning_rate": 1.5e-4, "batch_size": 16},
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


#: With metrics that count each class alike the loss does, too. Macro F1 on 725 other questions of
#: BFCL's six categories (3 to 49 % of 200 train rows), mean of five seeds (lowest): fully tuned,
#: none .30 (.22), sqrt .36 (.32), balanced .40 (.38), accuracy .61, .63, .59; LoRA .23, .24, .23.
_CLASSES_ALIKE = ("macro_f1", "balanced_accuracy")


def fit_defaults(space: str, method: str, rows: int, metric: str) -> dict[str, Any]:
    """Returns the method's section of the study: what Phase 0 and the search begin with.

    Args:
        space: Name of the study's space.
        method: Name of the method.
        rows: That it trains on.
        metric: Of the task.
    """
    begins: dict[str, Any] | None = _DEFAULTS.get(method) if space == SMALL_SPACE else None
    if begins is None:
        return {}
    least, most = _EPOCHS
    begins = {**begins, "epochs": min(most, max(least, round(_ROWS_PASSED / rows)))}
    if metric in _CLASSES_ALIKE:
        begins["class_weights"] = "balanced"
    return {"defaults": begins}
