"""Tokenizers of the tiny diffusers folders: CLIP's with few words, T5's and Qwen's trained on a few words."""

import string
import tempfile
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import CLIPTokenizerFast, Qwen2Tokenizer, T5TokenizerFast

_END = "<|endoftext|>"
_WORDS = "a red circle on a blue background, small yellow star white square green heart triangle purple orange black"
_QWEN_SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>"]
_CHAT = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def clip_tokenizer(folder: Path) -> CLIPTokenizerFast:
    """Return the tokenizer of a folder's tokenizer.json, as CLIP's."""
    file = str(folder / "tokenizer.json")
    return CLIPTokenizerFast(tokenizer_file=file, model_max_length=77, unk_token=_END, pad_token=_END)


def t5_tokenizer() -> T5TokenizerFast:
    """Return one of pieces of words, as T5's."""
    made = Tokenizer(models.Unigram())
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    special = ["<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(vocab_size=200, special_tokens=special, unk_token="<unk>", show_progress=False)
    made.train_from_iterator([_WORDS, string.ascii_letters + string.digits + string.punctuation] * 4, trainer)
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "tokenizer.json")
        made.save(file)
        return T5TokenizerFast(tokenizer_file=file, extra_ids=0, model_max_length=77)


def qwen_tokenizer() -> Qwen2Tokenizer:
    """Return one of pairs of bytes, as Qwen's, with its template of a chat."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made.train_from_iterator(
        [_WORDS] * 2, trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    )
    with tempfile.TemporaryDirectory() as folder:
        made.model.save(folder)
        vocabulary = f"{folder}/vocab.json"
        found = Qwen2Tokenizer.from_pretrained(
            folder, vocab_file=vocabulary, pad_token=_END, eos_token="<|im_end|>", model_max_length=131072
        )
        found.add_special_tokens({"additional_special_tokens": _QWEN_SPECIAL[1:]})
    found.chat_template = _CHAT
    return found
