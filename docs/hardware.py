"""The page on which model fits on which card, by the estimate that ``phasewise plan`` prints."""

from phasewise.methods.model_shape import ModelShape, shape_of
from phasewise.tuning.cards import (
    CARDS,
    METHODS,
    MODELS,
    RANK,
    SHARE,
    estimate_way_gb,
    is_decoder,
)

LENGTH = 512
#: Heading and rows in a forward pass.
ROWS = {"Eight rows at once": 8, "One row at a time (`micro_batch_size: 1`)": 1}


INTRO = f"""# Which model fits where

{{note}}

The peak of one run, in GB, and the smallest card that it fits on with a tenth to spare, for rows of
{LENGTH} tokens, products in bfloat16 and adapters of rank {RANK} on all linear layers. It is the
estimate that `phasewise plan` prints (column GB, `~`) for your model, batch and length before
Phase 0 has measured a run; then it prints what was measured.

These are estimates from each model's published sizes; none of these rows was run on a card to check
it. Phasewise keeps trained weights in float32 with AdamW's two moments (16 bytes a weight), frozen
ones in bfloat16 or nf4, and all activations unless gradient checkpointing is on."""

NOTES = """## What to do where it does not fit

- `training: {micro_batch_size: 1}` holds one row at a time; the effective batch stays. If a run
  runs out of memory this happens by itself, by halves.
- `training: {gradient_checkpointing: true}` keeps a block's inputs instead of all activations, and
  computes these twice.
- A shorter `max_length`: activations are proportional to rows times tokens.
- `qlora` in place of `lora`; of full fine-tuning, `training: {optimizer: paged_adamw_8bit}`.
- `search: {memory_constraint_gb: 16}` redraws trials that would not fit, and says so.

Trials that train together share the frozen weights: each adds its adapter's weights and its own
activations. On a CPU the same sizes hold in main memory; nf4 and int8 work there too, slowly."""


def hardware_page(note: str) -> str:
    """Returns the page; ``note`` says where it comes from."""
    parts = [INTRO.format(note=note)]
    for heading, rows in ROWS.items():
        parts += [f"## {heading}", _table(rows)]
    return "\n\n".join([*parts, NOTES]) + "\n"


def _table(rows: int) -> str:
    lines = [f"| model | weights | {' | '.join(METHODS)} |", "| --- " * (2 + len(METHODS)) + "|"]
    for name, config in MODELS.items():
        shape = shape_of(config)
        assert shape is not None
        cells = [_cell(shape, way, rows, is_decoder(name)) for way in METHODS]
        lines.append(f"| `{name}` | {_count(shape.weights)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(shape: ModelShape, way: str, rows: int, is_language_model: bool) -> str:
    peak = estimate_way_gb(shape, way, rows * LENGTH, is_language_model)
    card = next((f"{size} GB" for size in CARDS if peak <= SHARE * size), "several cards")
    return f"{peak:.1f}: {card}" if peak < 100 else f"{peak:.0f}: {card}"


def _count(weights: int) -> str:
    return f"{weights / 1e9:.1f} B" if weights >= 1e9 else f"{weights / 1e6:.0f} M"
