"""HEIC and AVIF: what is read of them, and what a file that lies about itself can take."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from graphs.errors import InvalidImage, RequestTooLarge
from graphs.requests.image_headers import ImageLimits, InputHeaders, read_headers
from graphs.requests.input_images import encode_inputs
from graphs.resolution import Resolution
from tests.support.heif_files import Picture, box, coded_picture, full_box, grid, heif_file, with_size
from tests.support.images import image_bytes, pixels

pytestmark = pytest.mark.usefixtures("processes")
PICTURES = Path(__file__).parent.parent / "pictures"
LIMITS = ImageLimits(52_000_000, max_side_ratio=32, max_decoding_bytes=640 * 2**20)
UNREADABLE = r"^image is no image that can be read \(DecoderFailed\)\. PNG, JPEG, "
INCOMPLETE = r"^image is incomplete: "


def _scene(width: int = 64, height: int = 48) -> Image.Image:
    """What the .heic files show: red, green, blue and white quarters."""
    image = Image.new("RGB", (width, height), (200, 60, 40))
    image.paste((40, 180, 60), (width // 2, 0, width, height // 2))
    image.paste((50, 70, 200), (0, height // 2, width // 2, height))
    image.paste((240, 240, 240), (width // 2, height // 2, width, height))
    return image


def _file(name: str) -> bytes:
    return (PICTURES / name).read_bytes()


def _read(content: bytes) -> Image.Image:
    found = encode_inputs(read_headers(content, None, LIMITS), lambda size: (size, "stretch"))
    return Image.open(io.BytesIO(found.image))


def _quarters(image: Image.Image) -> list[tuple[int, ...]]:
    """Return the mean colours of the quarters, row by row."""
    width, height = image.size
    boxes = [(x, y, x + width // 2, y + height // 2) for y in (0, height // 2) for x in (0, width // 2)]
    return [tuple(round(one) for one in np.asarray(image.crop(one)).reshape(-1, 3).mean(0)) for one in boxes]


def _differs(one: Image.Image, other: Image.Image) -> float:
    assert one.size == other.size
    return float(np.abs(np.asarray(one, dtype=float) - np.asarray(other.convert("RGB"), dtype=float)).mean())


@pytest.mark.parametrize("name", ["plain.heic", "deep10.heic", "deep12.heic"])
def test_heic_of_eight_ten_and_twelve_bits_is_read(name: str) -> None:
    assert _differs(_read(_file(name)), _scene()) < 3


def test_grey_heic_is_read() -> None:
    assert _differs(_read(_file("grey.heic")), _scene().convert("L")) < 3


@pytest.mark.parametrize("options", [{}, {"subsampling": "4:4:4"}, {"quality": 100}])
def test_avif_is_read(options: dict[str, object]) -> None:
    assert _differs(_read(image_bytes(_scene(), "AVIF", **options)), _scene()) < 3
    assert _differs(_read(image_bytes(_scene().convert("L"), "AVIF", **options)), _scene().convert("L")) < 3


def test_the_given_pictures_show_the_same_in_both_formats() -> None:
    assert _differs(_read(_file("a.heic")), _read(_file("a.avif"))) < 4


@pytest.mark.parametrize("kind", ["HEIC", "AVIF"])
def test_a_transparent_picture_lies_on_white(kind: str) -> None:
    seen = _scene().convert("RGBA")
    seen.paste((0, 0, 0, 0), (0, 0, 32, 24))
    content = _file("alpha.heic") if kind == "HEIC" else image_bytes(seen, "AVIF")
    expected = _scene()
    expected.paste("white", (0, 0, 32, 24))
    assert _differs(_read(content), expected) < 4


@pytest.mark.parametrize(
    ("properties", "turn"),
    [
        ([(b"irot", 1)], [Image.Transpose.ROTATE_90]),
        ([(b"irot", 2)], [Image.Transpose.ROTATE_180]),
        ([(b"irot", 3)], [Image.Transpose.ROTATE_270]),
        ([(b"imir", 0)], [Image.Transpose.FLIP_TOP_BOTTOM]),
        ([(b"imir", 1)], [Image.Transpose.FLIP_LEFT_RIGHT]),
        ([(b"irot", 1), (b"imir", 1)], [Image.Transpose.ROTATE_90, Image.Transpose.FLIP_LEFT_RIGHT]),
    ],
)
@pytest.mark.parametrize("kind", ["HEIC", "AVIF"])
def test_turned_and_mirrored_pictures_are_upright(
    kind: str, properties: list[tuple[bytes, int]], turn: list[Image.Transpose]
) -> None:
    plain = coded_picture(_file("plain.heic") if kind == "HEIC" else image_bytes(_scene(), "AVIF"))
    plain.properties += [box(name, bytes((value,))) for name, value in properties]
    expected = _scene()
    for one in turn:
        expected = expected.transpose(one)
    assert _differs(_read(heif_file([plain])), expected) < 3


def test_a_cropped_heic_is_read() -> None:
    plain = coded_picture(_file("plain.heic"))
    middle = struct.pack(">8I", 32, 1, 24, 1, 0, 1, 0, 1)
    plain.properties.append(box(b"clap", middle))
    assert _differs(_read(heif_file([plain])), _scene(32, 24)) < 6


@pytest.mark.parametrize("kind", ["HEIC", "AVIF"])
def test_tiles_are_put_together(kind: str) -> None:
    """As phones write their photographs: tiles of 512 x 512, the last ones cut to the picture's size."""
    shown = Image.linear_gradient("L").resize((512, 512)).convert("RGB")
    tile = coded_picture(_file("tile.heic") if kind == "HEIC" else image_bytes(shown, "AVIF"))
    single = _read(heif_file([tile]))
    whole = Image.new("RGB", (1200, 700))
    for place in ((x, y) for x in (0, 512, 1024) for y in (0, 512)):
        whole.paste(single, place)
    content = heif_file([grid(2, 3, 1200, 700), *[tile] * 6], [(b"dimg", 1, [2, 3, 4, 5, 6, 7])])
    assert _differs(_read(content), whole) < 3


@pytest.mark.parametrize(("columns", "rows", "width", "height"), [(8, 6, 4032, 3024), (16, 12, 8064, 6048)])
def test_a_photograph_of_a_phone_is_decoded_within_the_memory_that_its_header_states(
    columns: int, rows: int, width: int, height: int
) -> None:
    """Of 12 and 48 megapixels in tiles, turned; the kernel ends a decoder that takes more."""
    photograph = grid(rows, columns, width, height)
    photograph.properties.append(box(b"irot", b"\3"))
    tiles = [coded_picture(_file("tile.heic"))] * (rows * columns)
    content = heif_file([photograph, *tiles], [(b"dimg", 1, list(range(2, 2 + len(tiles))))])
    content += bytes(8_000_000 - len(content))  # as much as a camera writes
    header = read_headers(content, None, LIMITS).image
    assert (header.width, header.height) == (height, width)
    found = encode_inputs(InputHeaders(header, None), lambda size: (Resolution(384, 512), "stretch"))
    assert Image.open(io.BytesIO(found.image)).size == (384, 512)


def test_of_several_pictures_the_primary_one_is_read() -> None:
    assert _quarters(_read(_file("several.heic"))) == [(254, 0, 0)] * 4


def test_of_an_animation_the_first_picture_is_read() -> None:
    frames = [_scene(), *(Image.new("RGB", (64, 48), colour) for colour in ("red", "blue"))]
    content = image_bytes(frames[0], "AVIF", save_all=True, append_images=frames[1:])
    assert _differs(_read(content), _scene()) < 3


@pytest.mark.parametrize("kind", ["HEIC", "AVIF"])
def test_a_profile_is_honoured(kind: str) -> None:
    """Display P3, as an ICC profile and as codes, means the same colours."""
    profile = Image.open(io.BytesIO(_file("p3.png"))).info["icc_profile"]
    if kind == "HEIC":
        by_profile, plain = _file("p3.heic"), _file("plain.heic")
    else:
        by_profile, plain = image_bytes(_scene(), "AVIF", icc_profile=profile), image_bytes(_scene(), "AVIF")
    srgb, p3 = (struct.pack(">4sHH", b"nclx", primaries, 13) for primaries in (1, 12))
    assert plain.count(srgb) == 1
    expected = ImageCms.profileToProfile(
        _scene(), ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
    )
    assert expected is not None
    assert _differs(_read(by_profile), expected) < 4
    assert _differs(_read(plain.replace(srgb, p3)), expected) < 4
    assert _differs(_read(plain), expected) > 6


@pytest.mark.parametrize("name", ["plain.heic", "alpha.heic", "a.avif"])
def test_a_cut_one_is_incomplete(name: str) -> None:
    whole = _file(name)
    for end in range(40, len(whole)):
        with pytest.raises(InvalidImage, match=INCOMPLETE):
            _read(whole[:end])


@pytest.mark.parametrize("name", ["plain.heic", "a.avif"])
def test_bytes_behind_it_are_left_out(name: str) -> None:
    assert _differs(_read(_file(name) + bytes(100_000)), _read(_file(name))) == 0


@pytest.mark.parametrize("name", ["plain.heic", "a.avif"])
def test_the_stated_size_is_judged_before_anything_is_decoded(name: str) -> None:
    huge = with_size(coded_picture(_file(name)), 60_000, 60_000)
    with pytest.raises(RequestTooLarge, match="60000x60000"):
        read_headers(heif_file([huge]), None, LIMITS)
    tile = with_size(coded_picture(_file(name)), 20_000, 20_000)
    tiles = heif_file([grid(1, 4, 64, 64), *[tile] * 4], [(b"dimg", 1, [2, 3, 4, 5])])
    with pytest.raises(RequestTooLarge, match=r"64x64 pixels, and takes up to [0-9]+ MiB to decode"):
        read_headers(tiles, None, LIMITS)


def _large_in_little(kind: str) -> bytes:
    """A file whose coded picture has 36 million pixels, and that states 64 x 64."""
    if kind == "AVIF":
        large = coded_picture(image_bytes(Image.new("RGB", (6000, 6000), "red"), "AVIF", speed=10))
    else:
        large = coded_picture(_file("large.heic"))
    return heif_file([with_size(large, 64, 64)])


@pytest.mark.parametrize("kind", ["HEIC", "AVIF"])
def test_a_coded_picture_larger_than_stated_is_refused(kind: str) -> None:
    content = _large_in_little(kind)
    header = read_headers(content, None, LIMITS).image
    assert header.decoding_bytes < 80 * 2**20
    with pytest.raises(InvalidImage, match=UNREADABLE):
        _read(content)


def test_a_coded_picture_smaller_than_stated_is_refused_or_has_the_stated_size() -> None:
    with pytest.raises(InvalidImage, match=UNREADABLE):
        _read(heif_file([with_size(coded_picture(_file("plain.heic")), 4000, 3000)]))
    # libavif enlarges it.
    assert _read(heif_file([with_size(coded_picture(_file("a.avif")), 4000, 3000)])).size == (4000, 3000)


@pytest.mark.parametrize(
    "content",
    [
        heif_file([Picture(b"hvc1", b"x")]),
        heif_file([Picture(b"jpeg", b"x", [full_box(b"ispe", 0, struct.pack(">II", 8, 8))])]),
        box(b"ftyp", b"heic", bytes(4), b"mif1") + box(b"meta", bytes(4)),
        box(b"ftyp", b"heic", bytes(4), b"mif1") + box(b"mdat", bytes(40)),
    ],
    ids=["no size", "another coding", "no items", "no meta"],
)
def test_the_error_names_the_kind_of_one_without_a_picture(content: bytes) -> None:
    with pytest.raises(InvalidImage, match=r"^image is a HEIC image without a picture in HEVC or AV1, which"):
        _read(content)


@pytest.mark.parametrize("name", ["iloc", "ipma", "iref", "iinf"])
def test_tables_without_end_are_refused(name: str) -> None:
    every_property = struct.pack(">I", 2000) + (b"\0\1\xff" + bytes(255)) * 2000
    entries = {
        "iloc": full_box(b"iloc", 1, struct.pack(">HH", 0, 5), struct.pack(">HHHH", 1, 0, 0, 65535) * 5),
        "ipma": box(b"iprp", box(b"ipco"), full_box(b"ipma", 0, every_property)),
        "iref": full_box(b"iref", 0, *(box(b"dimg", struct.pack(">HH", 1, 65535)) for _ in range(5))),
        "iinf": full_box(b"iinf", 0, b"\xff\xff", *(box(b"infe", b"") for _ in range(100_001))),
    }
    with pytest.raises(InvalidImage, match="more than 100000 parts"):
        _read(box(b"ftyp", b"heic", bytes(4), b"mif1") + full_box(b"meta", 0, entries[name]))


def test_a_mask_may_be_avif() -> None:
    mask = Image.new("L", (64, 48), 0)
    mask.paste(255, (0, 0, 32, 48))
    found = encode_inputs(
        read_headers(image_bytes(_scene()), image_bytes(mask, "AVIF"), LIMITS), lambda size: (size, "stretch")
    )
    assert found.mask is not None
    shown = pixels(found.mask)[..., 0]
    assert shown[:, :28].min() > 240
    assert shown[:, 36:].max() < 15
