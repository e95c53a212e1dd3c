import pytest

from graphs.resolution import Resolution


@pytest.mark.parametrize("text", ["1x1", "512x512", "1024x768", "2147483647x1"])
def test_a_resolution_reads_and_writes_the_same(text: str) -> None:
    assert str(Resolution.parse(text)) == text


def test_width_comes_first() -> None:
    assert Resolution.parse("1024x768") == Resolution(width=1024, height=768)


@pytest.mark.parametrize(
    "text",
    [
        *("51:512", "512_51x", "51x512x", "-51x52", "51x-52", "0x52", "51x0", "abcx512", "5151xabc"),
        *("9223372036854775808x1", "1x9223372036854775808", "2147483648x1", "9" * 100_000 + "x1"),
        *("", "x", "512", "512x", " 512x512", "512x512 ", "512 x 512", "512x512\n", "+512x512", "512X512"),
        *("512×512", "٥١٢x512", "512.0x512", "1e3x512", "0512x512", "(4096x4096)", "auto"),
    ],
)
def test_anything_else_is_refused_in_a_short_sentence(text: str) -> None:
    with pytest.raises(ValueError, match=r"\.$") as refusal:
        Resolution.parse(text)
    assert len(str(refusal.value)) < 200


def test_a_list_keeps_its_order() -> None:
    assert Resolution.parse_list(" 512x512  1024x768 ") == (Resolution(512, 512), Resolution(1024, 768))


@pytest.mark.parametrize(
    ("text", "says"),
    [("512x512 512x512", "twice"), ("", "empty"), ("  ", "empty"), ("512x512 1024x10x24", "1024x10x24")],
)
def test_a_list_with_a_fault_is_refused(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Resolution.parse_list(text)


def test_fitting_looks_at_both_sides() -> None:
    limit = Resolution(512, 256)
    assert Resolution(512, 256).fits(limit)
    assert not Resolution(513, 256).fits(limit)
    assert not Resolution(512, 257).fits(limit)
