from typing import get_args

from PIL import Image, features

from graphs.requests.output_formats import OUTPUT_FORMATS, OutputFormat


def test_every_format_is_described() -> None:
    assert tuple(OUTPUT_FORMATS) == get_args(OutputFormat)


def test_pillow_writes_every_format_under_its_name() -> None:
    Image.init()
    assert {name.upper() for name in OUTPUT_FORMATS} <= set(Image.SAVE)
    assert features.check("webp")


def test_a_suffix_belongs_to_one_format() -> None:
    suffixes = [suffix for image_format in OUTPUT_FORMATS.values() for suffix in image_format.suffixes]
    assert len(set(suffixes)) == len(suffixes)
