"""Makes CLIP's tokenizer of the vocabulary that the wheel of open-clip-torch carries; no network is asked."""

import gzip
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from transformers import CLIPTokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

_FILE = "bpe_simple_vocab_16e6.txt.gz"
_WORDS = 49408
_BYTES = 256
_SPECIAL = ("<|startoftext|>", "<|endoftext|>")
# The file has more merges than CLIP was trained with; its first line is a version.
_MERGES = _WORDS - 2 * _BYTES - len(_SPECIAL)


def clip_tokenizer(config: dict[str, Any]) -> CLIPTokenizer:
    """Return the tokenizer with the special tokens and the length of a ``tokenizer_config.json``."""
    merges = _merges()
    letters = list(bytes_to_unicode().values())
    words = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(pair) for pair in merges), *_SPECIAL]
    vocabulary = {word: number for number, word in enumerate(words)}
    options = {name: value for name, value in config.items() if name != "tokenizer_class"}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, **options)


def _merges() -> list[tuple[str, str]]:
    # open_clip itself is not imported: it needs torchvision.
    spec = find_spec("open_clip")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError("open-clip-torch is not installed; its wheel carries CLIP's vocabulary.")
    with gzip.open(Path(spec.submodule_search_locations[0]) / _FILE, "rt", encoding="utf-8") as file:
        lines = file.read().split("\n")[1 : _MERGES + 1]
    return [(first, second) for first, second in (line.split() for line in lines)]
