"""The tokenizer: CLIP's form (byte-level BPE, 77 positions), merged until every word of the world is one token."""

import json
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from tools.demo_model.recipe import Folders, Recipe
from tools.demo_model.training.captions import EVERY_WORD

LENGTH = 77
_START = "<|startoftext|>"
_END = "<|endoftext|>"
_SUFFIX = "</w>"
_WORDS = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def make(recipe: Recipe, folders: Folders) -> None:
    """Build the tokenizer and keep it; every recipe has the same."""
    del recipe
    tokenizer = _dressed(_byte_pairs())
    start = tokenizer.token_to_id(_START)
    end = tokenizer.token_to_id(_END)
    tokenizer.post_processor = processors.RobertaProcessing((_END, end), (_START, start), add_prefix_space=False)
    tokenizer.enable_truncation(LENGTH)
    tokenizer.enable_padding(length=LENGTH, pad_id=end, pad_token=_END)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=_START, eos_token=_END, pad_token=_END, unk_token=_END,
        model_max_length=LENGTH, padding_side="right",
    )  # fmt: skip
    fast.save_pretrained(_folder(folders))
    _check(tokenizer)


def _dressed(model: models.BPE) -> Tokenizer:
    """Add CLIP's normalisation, splitting and decoding to the byte pairs."""
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([_START, _END])
    return tokenizer


def _byte_pairs() -> models.BPE:
    """Merge until every word is one token; every byte, within and at the end of a word, keeps a token."""
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix=_SUFFIX))
    trainer = trainers.BpeTrainer(vocab_size=4096, min_frequency=1, end_of_word_suffix=_SUFFIX, show_progress=False)
    tokenizer.train_from_iterator(EVERY_WORD, trainer)
    merges = [tuple(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    entries = [*letters, *(letter + _SUFFIX for letter in letters), *("".join(pair) for pair in merges)]
    vocabulary = {entry: number for number, entry in enumerate(dict.fromkeys(entries))}
    return models.BPE(vocabulary, merges, end_of_word_suffix=_SUFFIX, unk_token=_END)


def _check(tokenizer: Tokenizer) -> None:
    """Every word of the world must be one token between start and end."""
    for word in EVERY_WORD:
        ids = tokenizer.encode(word).ids
        if len(set(ids[2:])) != 1 or ids[1] == ids[2]:
            raise ValueError(f"The word {word!r} is not one token: {tokenizer.encode(word).tokens[:6]}.")


def load(folders: Folders) -> Tokenizer:
    """Return the tokenizer made by ``make``."""
    return Tokenizer.from_file(str(_folder(folders) / "tokenizer.json"))


def encode(tokenizer: Tokenizer, texts: list[str]) -> torch.Tensor:
    """Turn texts into token numbers, int64 [n, 77]."""
    return torch.tensor([encoding.ids for encoding in tokenizer.encode_batch(texts)])


def _folder(folders: Folders) -> Path:
    return folders.work / "tokenizer"
