"""The words of ``--extra_quantization_params``: what they mean, and what is refused before anything long."""

import pytest

from cli.errors import UserError
from cli.export.compression import Compression, WeightFormat, read_compression

pytestmark = pytest.mark.fast


def test_the_words_of_optimum_are_read() -> None:
    words = "--sym --group-size -1 --ratio 0.8 --backup-precision int8_sym --group-size-fallback=adjust --all-layers"
    found, said = read_compression("int4", words)
    assert found == Compression(
        "int4",
        sym=True,
        group_size=-1,
        ratio=0.8,
        all_layers=True,
        backup_precision="int8_sym",
        group_size_fallback="adjust",
    )
    assert said == []


@pytest.mark.parametrize(
    ("weight_format", "words", "expected", "said"),
    [
        ("int8", None, Compression("int8"), []),
        ("int4", "", Compression("int4"), []),
        ("int8", "--sym", Compression("int8", sym=True), []),
        (
            "int8",
            "--sym --group-size -1 --ratio 1.0",
            Compression("int8", sym=True),
            [
                "--group-size has no effect with --weight-format int8",
                "--ratio has no effect with --weight-format int8",
            ],
        ),
        ("fp16", "--sym", Compression("fp16"), ["--sym has no effect with --weight-format fp16"]),
    ],
)
def test_what_the_format_does_not_take_is_said(
    weight_format: WeightFormat, words: str | None, expected: Compression, said: list[str]
) -> None:
    assert read_compression(weight_format, words) == (expected, said)


def test_a_group_size_has_its_own_option_too() -> None:
    assert read_compression("int4", None, 32)[0].group_size == 32
    assert read_compression("int4", "--group-size 32", 32)[0].group_size == 32
    with pytest.raises(UserError, match="give two group sizes"):
        read_compression("int4", "--group-size 128", 32)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        *(
            (f"--{word}", f"--{word} needs a data set")
            for word in ("awq", "gptq", "scale-estimation", "lora-correction")
        ),
        ("--sym --dataset conceptual_captions --num-samples 4", "--dataset needs a data set"),
        ("--quant-mode int8", "--quant-mode needs a data set"),
        ("--trust-remote-code", "unrecognized arguments: --trust-remote-code; what it takes is --sym, --ratio"),
        ("--ratio 1.5", "1.5 is not between 0 and 1"),
        ("--ratio", "expected one argument"),
        ("--group-size 0", "0 is neither -1"),
        ("--group-size x", "'x' is no whole number"),
        ("--backup-precision int4", "invalid choice"),
        ("--sym '", "cannot be read: No closing quotation."),
        ("sym", "unrecognized arguments: sym"),
    ],
)
def test_what_is_refused(words: str, sentence: str) -> None:
    with pytest.raises(UserError) as refused:
        read_compression("int4", words)
    assert sentence in str(refused.value) and str(refused.value).startswith("--extra_quantization_params")
    assert "\n" not in str(refused.value)
