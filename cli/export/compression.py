"""How the weights of a model are compressed: ``--weight-format``, and the words of ``--extra_quantization_params``.

The words are those of `optimum-cli export openvino` (optimum-intel 2.2, optimum/commands/export/openvino.py), which
Model Server hands them to.
"""

import argparse
import shlex
from dataclasses import dataclass
from typing import Literal, NoReturn

from cli.errors import UserError

WeightFormat = Literal["fp32", "fp16", "int8", "int4"]
DEFAULT_FORMAT: WeightFormat = "int8"
_GROUP_SIZE = 64
_OPTION = "--extra_quantization_params"
_FALLBACKS = ("error", "ignore", "adjust")
_BACKUPS = ("none", "int8_sym", "int8_asym")
_NEED_DATA = (
    *("dataset", "num-samples", "awq", "scale-estimation", "gptq", "lora-correction", "sensitivity-metric"),
    *("quantization-statistics-path", "quant-mode", "smooth-quant-alpha"),
)
_WORDS = ("sym", "ratio", "group-size", "group-size-fallback", "backup-precision", "all-layers")


@dataclass(frozen=True)
class Compression:
    """The format of the weights, and its options. All but ``sym`` are for int4 alone; None is optimum-intel's."""

    weight_format: WeightFormat = DEFAULT_FORMAT
    sym: bool = False
    group_size: int = _GROUP_SIZE
    ratio: float = 1.0
    all_layers: bool = False
    backup_precision: str | None = None
    group_size_fallback: str | None = None

    @property
    def kept_group_size(self) -> int | None:
        """The group size where there are groups, for the report."""
        return self.group_size if self.weight_format == "int4" else None


def read_compression(
    weight_format: WeightFormat, extra: str | None, group_size: int | None = None
) -> tuple[Compression, list[str]]:
    """Return the compression that the options mean, and a sentence for words that change nothing with this format.

    Raises UserError for words that are not optimum's, and for those that would need a data set.
    """
    given = vars(_parser().parse_args(_words_of(extra or "")))
    if group_size is not None and given.get("group_size", group_size) != group_size:
        raise UserError(f"--group-size and {_OPTION} give two group sizes; give one of them.")
    given = {**({"group_size": group_size} if group_size is not None else {}), **given}
    taken = {"int4": set(given), "int8": {"sym"}}.get(weight_format, set())
    without_effect = sorted(set(given) - taken)
    said = [f"--{name.replace('_', '-')} has no effect with --weight-format {weight_format}" for name in without_effect]
    return Compression(weight_format, **{name: given[name] for name in given if name in taken}), said


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{_OPTION}: {message}; what it takes is {', '.join(f'--{word}' for word in _WORDS)}.")


def _words_of(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise UserError(f"{_OPTION} {text!r} cannot be read: {error}.") from error


def _parser() -> argparse.ArgumentParser:
    """Return the parser; a word that is not given has no value."""
    parser = _Parser(add_help=False, allow_abbrev=False, argument_default=argparse.SUPPRESS)
    parser.add_argument("--sym", action="store_true")
    parser.add_argument("--all-layers", action="store_true")
    parser.add_argument("--ratio", type=_ratio)
    parser.add_argument("--group-size", type=_group_size)
    parser.add_argument("--group-size-fallback", choices=_FALLBACKS)
    parser.add_argument("--backup-precision", choices=_BACKUPS)
    for word in _NEED_DATA:
        parser.add_argument(f"--{word}", action=_Refused, nargs="*")
    return parser


class _Refused(argparse.Action):
    def __call__(self, *arguments: object) -> None:
        word = arguments[-1]
        raise UserError(
            f"{_OPTION}: {word} needs a data set, from which nothing is measured here; leave it out, or convert the "
            "model with optimum-cli and serve its folder with --model_path."
        )


def _ratio(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number") from None
    if not 0.0 <= found <= 1.0:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return found


def _group_size(text: str) -> int:
    try:
        found = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number") from None
    if found != -1 and found < 1:
        raise argparse.ArgumentTypeError(f"{text} is neither -1, which is one group for each column, nor 1 or more")
    return found
