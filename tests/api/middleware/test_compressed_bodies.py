"""Bodies with Content-Encoding: gzip and deflate are read, within the bounds of what comes out of them."""

import base64
import gzip
import json
import zlib
from collections.abc import Callable

import httpx2
import pytest

from config.settings import HttpSettings, RedisSettings, RepositorySettings, Settings
from graphs.repository.bundled import bundled_model_path
from tests.api.api_support import AT_ONCE, PNG, Api, error_of, serving
from tests.api.request.bodies_support import EDITS, FILE, GENERATIONS

BODY = json.dumps({"prompt": "a circle"}).encode()


def raw_deflate(content: bytes) -> bytes:
    """Return the content as some clients send ``deflate``: without zlib's header."""
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(content) + compressor.flush()


def send(
    api: Api, content: bytes, encoding: str, path: str = GENERATIONS, kind: str = "application/json"
) -> httpx2.Response:
    return api.http.post(path, content=content, headers={"Content-Encoding": encoding, "Content-Type": kind, **AT_ONCE})


@pytest.mark.parametrize(
    ("encoding", "compress"),
    [
        *((name, gzip.compress) for name in ("gzip", "x-gzip", "GZIP")),
        *(("deflate", compress) for compress in (zlib.compress, raw_deflate)),
        ("identity", bytes),
    ],
)
def test_a_compressed_body_is_read(api: Api, encoding: str, compress: Callable[[bytes], bytes]) -> None:
    assert send(api, compress(BODY), encoding).json()["prompt"] == "a circle"


def test_a_compressed_form_is_read(api: Api) -> None:
    form = httpx2.Request("POST", "http://x", data={"prompt": "a circle"}, files=FILE)
    kind = form.headers["content-type"]
    assert send(api, gzip.compress(form.read()), "gzip", EDITS, kind).json()["operation"] == "edit"


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, deflate", "x" * 500])
def test_another_encoding_is_refused(api: Api, encoding: str) -> None:
    assert error_of(send(api, BODY, encoding), 415)["code"] == "unsupported_media_type"


@pytest.mark.parametrize(
    ("content", "says"), [(BODY, "not compressed as"), (gzip.compress(BODY)[:-9], "too early")], ids=["plain", "cut"]
)
def test_a_broken_body_is_refused(api: Api, content: bytes, says: str) -> None:
    assert says in error_of(send(api, content, "gzip"))["message"]


def test_a_bomb_is_refused_by_what_comes_out_of_it(redis_settings: RedisSettings) -> None:
    settings = Settings(
        redis=redis_settings,
        repository=RepositorySettings(model_path=bundled_model_path()),
        http=HttpSettings(max_body_bytes=3 * 2**20),
    )
    bomb = gzip.compress(b" " * 2**28)
    assert len(bomb) < 2**19
    with serving(settings) as bounded:
        assert error_of(send(bounded, bomb, "gzip"), 413)
        head = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
        form = gzip.compress(head + b" " * 2**28)
        assert error_of(send(bounded, form, "gzip", EDITS, "multipart/form-data; boundary=b"), 413)
        empty_blocks = zlib.compress(b"")[:2] + b"\x00\x00\x00\xff\xff" * 2**20
        assert error_of(send(bounded, empty_blocks, "deflate"), 413)


@pytest.mark.parametrize("size", [2**20 - 1, 2**20, 2**20 + 1, 3 * 2**20])
@pytest.mark.parametrize(
    ("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress), ("deflate", raw_deflate)]
)
def test_a_body_of_about_whole_parts_is_read(
    api: Api, encoding: str, compress: Callable[[bytes], bytes], size: int
) -> None:
    body = BODY[:-1] + b" " * (size - len(BODY)) + b"}"
    image = b'{"prompt": "x", "image": "' + base64.b64encode(PNG) + b'"' + b" " * 2**19 + b"}"
    assert len(body) == size
    answer = send(api, compress(body), encoding)
    assert answer.status_code == (202 if size <= 2**20 else 413), answer.text
    assert send(api, compress(image), encoding, EDITS).status_code == 202


def test_several_members_of_gzip_are_one_body_and_other_bytes_are_refused(api: Api) -> None:
    assert send(api, gzip.compress(BODY[:9]) + gzip.compress(BODY[9:]), "gzip").json()["prompt"] == "a circle"
    assert "not compressed as" in error_of(send(api, gzip.compress(BODY) + b"more", "gzip"))["message"]
    assert "behind its end" in error_of(send(api, zlib.compress(BODY) + b"more", "deflate"))["message"]


def test_a_byte_order_mark_before_the_json_is_dropped(api: Api) -> None:
    assert send(api, b"\xef\xbb\xbf" + BODY, "identity").status_code == 202
