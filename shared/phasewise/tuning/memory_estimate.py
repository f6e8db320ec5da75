"""The peak memory of a run by its model's shape, before anything of it has been measured.

    peak = held weights + 16 bytes x trained weights + activations + what any process holds

The first three are those of ``memory``: trained weights are float32 with a gradient and two
moments, and where products are in 16 bits, full fine-tuning keeps a copy of the matrices in them
too. Frozen weights take 2 bytes (4 in float32), 1 in int8, 0.5 and a scale of 4 per 64 in nf4.
"""

from phasewise.methods.model_shape import ModelShape, read_shape
from phasewise.settings import MethodSettings, Study
from phasewise.tuning.memory import ACTIVATION_BYTES, BYTES_A_TRAINED_WEIGHT, LOGIT_BYTES
from phasewise.unit_runs import read_runs

#: Libraries and the device's own, GB.
_FIXED_GB = 1.0
_HELD_BYTES = {"nf4": 0.5 + 4 / 64, "int8": 1.0}
_GB = 1e9


def estimate_peak_gb(
    shape: ModelShape,
    method: MethodSettings,
    *,
    rank: int,
    tokens: int,
    is_language_model: bool,
    in_half: bool = True,
) -> float:
    """Returns the peak of one run on its own, in 1e9 bytes.

    Args:
        shape: Of the model.
        method: How it is trained; adapters are taken to lie on all linear layers.
        rank: Of the adapters.
        tokens: In one forward and backward pass, padding included.
        is_language_model: Whether logits over the vocabulary are computed for every token.
        in_half: Whether products are in 16 bits.
    """
    held: float
    if method.kind == "full":
        held = 2 * shape.linear_weights if in_half else 0  # the 16-bit copy; trained ones see below
        trained = shape.weights
    else:
        plain = 2 if in_half else 4
        linear = _HELD_BYTES.get(method.quantization, plain) * shape.linear_weights
        held = linear + plain * (shape.weights - shape.linear_weights)
        trained = shape.adapter_weights(rank) if method.trains_adapter else 0
    token: float = ACTIVATION_BYTES / (2 if in_half else 1) * shape.hidden * shape.layers
    token += LOGIT_BYTES * shape.vocabulary if is_language_model else 0
    return _FIXED_GB + (held + BYTES_A_TRAINED_WEIGHT * trained + token * tokens) / _GB


def describe_unit_memory(study: Study, task: str, method: str) -> str:
    """Returns a unit's peak in GB: measured by Phase 0, estimated (``~``), or ``-``."""
    records = read_runs(study, task, method, phase="phase0").records
    peaks = [record.cost.peak_memory_mb for record in records if record.cost is not None]
    if measured := [peak for peak in peaks if peak is not None]:
        return f"{max(measured) / 1e3:.1f}"
    shape = read_shape(study.settings.model)
    if shape is None:
        return "-"
    default = study.default_hyperparameters(task, method)
    settings = study.tasks[task]
    rows = default.rows_at_once(study.settings.training.micro_batch_size)
    dtype = study.methods[method].dtype or study.settings.model.dtype
    estimate = estimate_peak_gb(
        shape,
        study.methods[method],
        rank=default.lora_rank,
        tokens=rows * min(default.max_length or settings.max_length, settings.max_length),
        is_language_model=settings.traits.generates,
        in_half=dtype != "float32",
    )
    return f"~{estimate:.1f}"
