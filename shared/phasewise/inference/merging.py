"""Merges an adapter into its base model: one folder that plain transformers loads."""

import shutil
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

from phasewise.errors import ConfigError, PhasewiseError
from phasewise.inference.card import CARD_FILE
from phasewise.inference.final import LABELS_FILE
from phasewise.inference.loading import Device, LoadedModel, load_model, read_model_folder
from phasewise.methods.adapt import save_model
from phasewise.records import RECORD_FILE, write_atomically

MergedType = Literal["float32", "bfloat16", "float16"]
#: Merged and unmerged logits may differ by this much of the largest one: rounding of W + BA.
_TOLERANCE = 1e-3
#: Rows and tokens of the comparison.
_CHECK_SHAPE = (4, 16)


class Merged(NamedTuple):
    """A merged model.

    Attributes:
        folder: Where it is.
        difference: Largest difference of a logit from the adapter's, over the largest logit.
        was_quantized: Whether the base was dequantized first.
    """

    folder: Path
    difference: float
    was_quantized: bool


def merge_adapter(
    adapter: Path, output: Path, *, dtype: MergedType = "float32", device: Device = "auto"
) -> Merged:
    """Writes base model and adapter as one model, and checks that it answers as they did.

    A quantized base (nf4, int8) is dequantized first: the merged weights are those that the
    adapter was trained on, and take as much memory as an unquantized model. (int8 rounds
    activations too; a merged model does not, so its answers differ by that.)

    Embedding and language-model head that share one matrix are parted if the adapter alters one
    of them, since merging would alter the other too; the model grows by that matrix.

    Args:
        adapter: A model folder that holds an adapter (LoRA, rsLoRA, DoRA, …).
        output: A new folder.
        dtype: Of the written weights; the check is made in float32, before they are rounded.
        device: Where the work is done.

    Raises:
        ConfigError: ``adapter`` holds none, or one that PEFT cannot merge, or ``output`` is not
            new.
        PhasewiseError: The merged model answers differently.
    """
    source = read_model_folder(adapter)
    if not source.is_adapter:
        raise ConfigError(f"{adapter}: expected an adapter, it holds a whole model already")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ConfigError(f"{output}: expected a new folder, it holds something else")
    loaded = load_model(source, device, exact=True)
    model = loaded.model
    inputs = _draw_inputs(loaded)
    with torch.inference_mode():
        before = _answer(model, inputs)
        _part_adapted_ends(model)
        merged = _merge(model, adapter)
        difference = _compare(before, _answer(merged, inputs))
    if not difference <= _TOLERANCE:
        raise PhasewiseError(
            f"{adapter}: the merged model's logits differ by {difference:.2g} of the largest one, "
            f"expected at most {_TOLERANCE:g}; nothing was written"
        )
    merged.to(getattr(torch, dtype))
    save_model(merged, output)
    loaded.tokenizer.save_pretrained(output)
    _copy_papers(adapter, output)
    return Merged(output, difference, source.quantization != "none")


def _merge(model: Any, adapter: Path) -> Any:
    """Returns the base model with the adapter in its weights, in evaluation mode."""
    try:
        return model.merge_and_unload(safe_merge=True).eval()
    except (AttributeError, NotImplementedError) as error:  # a prompt, say, is no change of weights
        kind = str(model.peft_config[model.active_adapter].peft_type.value)
        raise ConfigError(f"{adapter}: PEFT cannot merge an adapter of type {kind}") from error


def _part_adapted_ends(model: Any) -> None:
    """Gives the head a matrix of its own where it is the embedding's and one of them is adapted."""
    base = model.get_base_model()
    ends = [base.get_input_embeddings(), base.get_output_embeddings()]
    layers = [getattr(end, "base_layer", end) for end in ends]
    is_adapted = any(end is not layer for end, layer in zip(ends, layers, strict=True))
    shared: Any
    head: Any
    shared, head = (getattr(layer, "weight", None) for layer in layers)
    if not is_adapted or shared is None or head is not shared:
        return
    layers[1].weight = torch.nn.Parameter(shared.detach().clone(), requires_grad=False)
    base.config.tie_word_embeddings = False


def _draw_inputs(loaded: LoadedModel) -> dict[str, torch.Tensor]:
    """Returns random tokens: whether two models agree needs no meaning."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, len(loaded.tokenizer), _CHECK_SHAPE, generator=generator)
    ids = ids.to(loaded.device)  # (rows, tokens)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def _answer(model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    output = model(**inputs)
    logits = output.start_logits if hasattr(output, "start_logits") else output.logits
    return torch.as_tensor(logits).float()


def _compare(before: torch.Tensor, after: torch.Tensor) -> float:
    return float((after - before).abs().max() / before.abs().max().clamp(min=1e-6))


def _copy_papers(adapter: Path, output: Path) -> None:
    """The record says which task the model serves; the card which data, scores and licenses."""
    for name in (RECORD_FILE, LABELS_FILE):
        if (adapter / name).is_file():
            shutil.copyfile(adapter / name, output / name)
    card = adapter / CARD_FILE
    if card.is_file():
        note = "This folder holds the adapter merged into its base model; load it as a whole model."
        write_atomically(output / CARD_FILE, f"{card.read_text(encoding='utf-8')}\n{note}\n")
