"""The peak memory of a run by its model's shape, before anything of it has been measured.

The one place with the sums, which ``plan``, the table of hardware and memory constraints go by::

    peak = runtime + held + trained + activations + logits

* held, frozen weights: 4, 2, 1 or 0.5625 bytes each (float32, bfloat16, int8, nf4 with a scale of 4
  per 64); what is no linear layer of a block stays in the products' type. Of full fine-tuning the
  products' copy in 16 bits, and on a CPU the base that further runs start from.
* trained: 16 bytes a weight: value, gradient and AdamW's two moments, float32; 10 with moments in
  8 bits
* activations, for each token of a forward pass: per block 8 h + 2 i numbers, of gated blocks
  9 h + 4 k + 4 i, h hidden, i inner width, k that of keys: what autograd keeps (Korthikanti et
  al. 2022, arXiv 2205.05198, section 4.1). Attention matrices are not kept, but on a CPU where the
  attention drops out: 4 numbers a head for each token of the row. An adapter that drops out keeps
  its own float32 copy of each adapted layer's input, and what says which of it was left.
  Recomputed: h a block, and all of one block.
* logits: 12 bytes a word of the vocabulary for each token: values, their softmax, their gradient

``benchmarks/memory.py`` holds it against measured peaks; figures in docs/design/training.md.
"""

from math import ceil
from typing import Literal, NamedTuple

from phasewise.methods.model_shape import ModelShape, read_shape
from phasewise.settings import Hyperparameters, MethodSettings, Study
from phasewise.settings.target_modules import BLOCK_ROLES, roles_of
from phasewise.training.hardware import find_gpus
from phasewise.unit_runs import read_runs

Device = Literal["cpu", "cuda"]

#: Value, gradient and two moments, float32; with moments of bitsandbytes.
BYTES_A_TRAINED_WEIGHT, _BYTES_WITH_8_BIT_MOMENTS = 16, 10
_HELD_BYTES = {"nf4": 0.5 + 4 / 64, "int8": 1.0}
_LOGIT_BYTES = 12
#: What a float32 input is after dropout, and what was left of it: a number on a CPU, else a byte.
_DROPPED_BYTES: dict[Device, int] = {"cpu": 4 + 4, "cuda": 4 + 1}
#: Scores, their softmax, what dropout leaves of it, a gradient (PyTorch's `math` attention).
_KEPT_MATRICES = 4
#: Python, torch, transformers and PEFT with nothing loaded (measured); of a GPU CUDA's context and
#: what lies between allocations.
_RUNTIME_BYTES: dict[Device, float] = {"cpu": 0.56e9, "cuda": 1.0e9}
_GB = 1e9


class MemoryNeed(NamedTuple):
    """Bytes at the peak of a run, on one device."""

    runtime: float
    held: float
    trained: float
    activations: float
    logits: float

    @property
    def total(self) -> float:
        """All of it."""
        return sum(self)


class Training(NamedTuple):
    """How a model is trained, as far as memory goes.

    Attributes:
        trained: Weights that train beside the base model's; None: the base model's.
        tokens: In one forward pass on one device, padding included.
        length: Of a row, tokens.
        in_half: Whether products, and so activations, are in 16 bits.
        quantization: Of the frozen base.
        is_language_model: Whether logits over the vocabulary are computed for each token.
        device: Whose memory.
        dropped: Widths of the inputs of a block's adapted layers together, if adapters drop out.
        checkpointing: ``training.gradient_checkpointing``.
        few_bits: Whether moments are in 8 bits.
        devices: Among which the weights are divided; 1: they are not.
    """

    trained: int | None
    tokens: float
    length: int = 0
    in_half: bool = True
    quantization: Literal["none", "nf4", "int8"] = "none"
    is_language_model: bool = True
    device: Device = "cuda"
    dropped: int = 0
    checkpointing: bool = False
    few_bits: bool = False
    devices: int = 1


def estimate_memory(shape: ModelShape, training: Training) -> MemoryNeed:
    """Returns the peak memory of a training run on its own; pure arithmetic, nothing is loaded."""
    width = 2 if training.in_half else 4
    each = _BYTES_WITH_8_BIT_MOMENTS if training.few_bits else BYTES_A_TRAINED_WEIGHT
    if training.trained is None:
        held: float = 2 * shape.linear_weights * training.in_half
        held += 4 * shape.weights * (training.device == "cpu")
        trained = shape.weights
    else:
        linear = _HELD_BYTES.get(training.quantization, width) * shape.linear_weights
        held = linear + width * (shape.weights - shape.linear_weights)
        trained = training.trained
    logits = _LOGIT_BYTES * shape.vocabulary if training.is_language_model else 0
    blocks = 1 if training.checkpointing else shape.layers
    return MemoryNeed(
        runtime=_RUNTIME_BYTES[training.device],
        held=held / training.devices,
        trained=each * trained / training.devices,
        activations=training.tokens
        * (
            width * _count_kept(shape, training)
            + _DROPPED_BYTES[training.device] * blocks * training.dropped
        ),
        logits=training.tokens * logits,
    )


def _count_kept(shape: ModelShape, training: Training) -> float:
    """Returns the numbers that are kept of one token, in all blocks."""
    block = 8 * shape.hidden + 2 * shape.inner
    if shape.gated:
        block = 9 * shape.hidden + 4 * shape.key_value + 4 * shape.inner
    if shape.drops_attention and training.device == "cpu":
        block += _KEPT_MATRICES * shape.heads * training.length
    return shape.layers * shape.hidden + block if training.checkpointing else shape.layers * block


def token_bytes(shape: ModelShape, *, is_language_model: bool) -> float:
    """Returns what one more token in a forward pass takes, in float32."""
    one = Training(trained=0, tokens=1, in_half=False, is_language_model=is_language_model)
    need = estimate_memory(shape, one)
    return need.activations + need.logits


def estimate_peak_gb(
    shape: ModelShape,
    method: MethodSettings,
    *,
    rank: int,
    tokens: int,
    is_language_model: bool,
    in_half: bool = True,
) -> float:
    """Returns the peak of one run on a GPU, in 1e9 bytes.

    Args:
        shape: Of the model.
        method: How it is trained; adapters are taken to lie on all linear layers.
        rank: Of the adapters.
        tokens: In one forward and backward pass, padding included.
        is_language_model: Whether logits over the vocabulary are computed for every token.
        in_half: Whether products are in 16 bits.
    """
    training = Training(
        trained=_count_trained(shape, method, rank, BLOCK_ROLES),
        tokens=tokens,
        in_half=in_half,
        quantization=method.quantization,
        is_language_model=is_language_model,
    )
    return estimate_memory(shape, training).total / _GB


def estimate_run(
    study: Study, task: str, method: str, chosen: Hyperparameters, device: Device
) -> MemoryNeed | None:
    """Returns what a run of a unit needs; None where the model's shape is not at hand.

    Args:
        study: The study.
        task: Its task.
        method: Its method.
        chosen: Of the run.
        device: Whose memory. ``dtype: auto`` is taken to be bfloat16 on a GPU, float32 on a CPU.
    """
    settings, rules = study.settings, study.methods[method]
    shape = read_shape(settings.model)
    if shape is None:
        return None
    dtype = rules.dtype or settings.model.dtype
    limit, machine = study.tasks[task].max_length, settings.machine
    length = min(chosen.max_length or limit, limit)
    shards = machine.fsdp_config or machine.deepspeed_config
    training = Training(
        trained=_count_trained(shape, rules, chosen.lora_rank, roles_of(chosen.target_modules)),
        tokens=length * ceil(chosen.rows_at_once(settings.training.micro_batch_size)),
        length=length,
        in_half=dtype == "bfloat16" or (dtype == "auto" and device == "cuda"),
        quantization=rules.quantization,
        is_language_model=study.tasks[task].traits.generates,
        dropped=_count_dropped(shape, rules, chosen),
        device=device,
        checkpointing=settings.training.gradient_checkpointing,
        few_bits=settings.training.optimizer != "adamw",
        devices=machine.gpus_per_run if shards else 1,
    )
    return estimate_memory(shape, training)


def _count_trained(
    shape: ModelShape, method: MethodSettings, rank: int, roles: tuple[str, ...]
) -> int | None:
    """Returns the weights that train beside the base's own, heads left out; None: the base's."""
    if method.traits.trains_base:
        return None
    return shape.adapter_weights(rank, roles) if method.trains_adapter else 0


def _count_dropped(shape: ModelShape, method: MethodSettings, chosen: Hyperparameters) -> int:
    if not method.trains_adapter or not chosen.lora_dropout:
        return 0
    roles = roles_of(chosen.target_modules)
    return sum(inputs for role, (inputs, _) in shape.matrices.items() if role in roles)


def describe_unit_memory(study: Study, task: str, method: str) -> str:
    """Returns a unit's peak in GB: measured by Phase 0, estimated (``~``), or ``-``."""
    records = read_runs(study, task, method, phase="phase0").records
    peaks = [record.cost.peak_memory_mb for record in records if record.cost is not None]
    if measured := [peak for peak in peaks if peak is not None]:
        return f"{max(measured) / 1e3:.1f}"
    machine = study.settings.machine
    has_gpu = machine.device == "cuda" or (machine.device == "auto" and bool(find_gpus(machine)))
    default = study.default_hyperparameters(task, method)
    need = estimate_run(study, task, method, default, "cuda" if has_gpu else "cpu")
    return "-" if need is None else f"~{need.total / _GB:.1f}"
