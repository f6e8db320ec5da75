"""Random decoders of a few thousand weights, one a family, with a tokenizer of bytes."""

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast, set_seed

_SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 256,
}
_LLAMA = {**_SMALL, "num_key_value_heads": 1, "head_dim": 16}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {**_LLAMA, "tie_word_embeddings": True},
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
    "phi": _SMALL,
    "phi3": {**_LLAMA, "pad_token_id": None},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 256},
}
_END = "<|end|>"


def write_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """Writes a tokenizer of 256 bytes and an end token, without a pad token, as decoders come."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {_END: 0, **{symbol: number + 1 for number, symbol in enumerate(alphabet)}}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=_END)
    tokenizer.save_pretrained(folder)
    return tokenizer


def write_decoder(folder: Path, family: str = "llama", **changes: Any) -> Path:
    """Writes model and tokenizer; the same weights each time."""
    tokenizer = write_tokenizer(folder)
    ends = {name: tokenizer.eos_token_id for name in ("bos_token_id", "eos_token_id")}
    # Room for tokens that some families' tokenizers add.
    settings = {**FAMILIES[family], "vocab_size": 320, **ends, **changes}
    set_seed(0)
    AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **settings)).save_pretrained(
        folder
    )
    return folder
