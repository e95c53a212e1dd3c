"""Multipart bodies, broken in every way."""

import json
from dataclasses import dataclass

import pytest
from hypothesis import strategies as st

from api.request.schemas import ImageBody
from tests.api.api_support import PNG
from tests.fuzz.fuzz_support import check_answer, examples, explore
from tests.fuzz.raw_http import KEY, Answer, ask
from tests.fuzz.test_requests import STRANGE_TEXTS, STRANGE_VALUES, VALUES
from tests.support.service import Service

KEYED = (b"Authorization", KEY)
BOUNDARY = b"fuzz-boundary"
FORM = (b"Content-Type", b"multipart/form-data; boundary=" + BOUNDARY)
OBJECTS = ["adapters", "lora_alphas", "metadata", "webhook"]
NAMES = [
    *sorted({*ImageBody.model_fields, "image", "mask"}),
    *("image[]", "mask[]", "image[0]", "[]", "", "lora_alphas[a]", "lora_alphas[]", "lora_alphas[a][b]", "metadata[a]"),
    *("metadata[\x00]", "webhook[url]", "webhook[events][]", "webhook[events]", "webhook[x]", "__proto__", "_charset_"),
    *STRANGE_TEXTS,
]
FILENAMES = [
    *("", "a.png", "../../../etc/passwd", "/dev/zero", "a\x00.png", "con", "a" * 3000, "🙂.png", ".htaccess", "a.php"),
    *('"', "\\", "%00", "a;b=c", "C:\\a.png"),
]
PART_HEADERS = [
    *(b"Content-Type: image/png", b"Content-Type: application/json", b"Content-Type: multipart/mixed; boundary=inner"),
    *(b"Content-Transfer-Encoding: base64", b"Content-Type: text/plain; charset=utf-7", b"Content-Type:"),
    *(b"Content-Disposition: form-data", b"X: " + b"a" * 5000, b"no colon", b"\xff: \xff", b":", b"Content-Length: 5"),
    *(b"Content-Disposition: form-data; name=image; filename*=utf-8''%ff%00", b"Content-Encoding: gzip"),
]


@dataclass(frozen=True)
class Part:
    """One part as it is written."""

    head: bytes
    content: bytes

    def written(self) -> bytes:
        return b"--%s\r\n%s\r\n\r\n%s\r\n" % (BOUNDARY, self.head, self.content)


def _part(name: str, content: bytes, filename: str | None = None, headers: tuple[bytes, ...] = ()) -> Part:
    disposition = f'Content-Disposition: form-data; name="{name}"'
    if filename is not None:
        disposition += f'; filename="{filename}"'
    return Part(b"\r\n".join([disposition.encode("utf-8", "surrogatepass"), *headers]), content)


IMAGE, PROMPT = _part("image", PNG, "a.png"), _part("prompt", b"a star")
PARTS = st.builds(
    _part,
    st.sampled_from(NAMES) | st.text(max_size=8),
    st.sampled_from([PNG, b"", b"1", b"\xff\xfe", b"a" * 300_000, BOUNDARY, b"--" + BOUNDARY])
    | (st.sampled_from(STRANGE_TEXTS) | VALUES).map(lambda text: text.encode("utf-8", "surrogatepass"))
    | st.binary(max_size=20),
    st.none() | st.none() | st.sampled_from(FILENAMES),
    st.lists(st.sampled_from(PART_HEADERS), max_size=2).map(tuple),
)


def _body(parts: list[Part]) -> bytes:
    return b"".join(part.written() for part in parts) + b"--%s--\r\n" % BOUNDARY


def _check(answer: Answer | None) -> None:
    assert answer is not None, "no answer"
    check_answer(answer.status, answer.kind, answer.headers.get("x-request-id"), answer.content)


@examples(100, 400)
def test_any_form_is_drawn_or_refused(service: Service, count: int) -> None:
    def check(parts: list[Part], whole: bool, path: str) -> None:
        body = _body([IMAGE, PROMPT, *parts] if whole else parts)
        _check(ask(service, b"POST", f"/v3/images/{path}".encode(), [KEYED, FORM], body))

    paths = st.sampled_from(["edits", "variations", "jobs", "generations"])
    explore(check, count, parts=st.lists(PARTS, max_size=4), whole=st.booleans(), path=paths)


@examples(80, 300)
def test_any_object_in_a_form_is_taken_or_refused(service: Service, count: int) -> None:
    def check(name: str, text: str) -> None:
        part = _part(name, text.encode("utf-8", "surrogatepass"))
        _check(ask(service, b"POST", b"/v3/images/edits", [KEYED, FORM], _body([IMAGE, PROMPT, part])))

    objects = st.lists(st.tuples(st.text(max_size=5).map(json.dumps) | st.just(r'"\ud800"'), VALUES), max_size=3)
    texts = objects.map(lambda pairs: "{" + ",".join(f"{name}:{value}" for name, value in pairs) + "}")
    explore(check, count, name=st.sampled_from(OBJECTS), text=texts | st.sampled_from(STRANGE_VALUES))


@examples(60, 250)
def test_a_damaged_form_is_drawn_or_refused(service: Service, count: int) -> None:
    whole = _body([PROMPT, IMAGE])

    def check(cut: int, drop: int, put: bytes) -> None:
        body = whole[:cut] + put + whole[cut + drop :]
        _check(ask(service, b"POST", b"/v3/images/edits", [KEYED, FORM], body))

    puts = st.binary(max_size=8) | st.sampled_from([b"\r\n", b"--" + BOUNDARY, b"--" + BOUNDARY + b"--", b"\r\n\r\n"])
    explore(check, count, cut=st.integers(0, len(whole)), drop=st.integers(0, len(whole)), put=puts)


@examples(30, 100)
def test_a_form_of_another_length_than_stated_ends(service: Service, count: int) -> None:
    whole = _body([PROMPT, IMAGE])

    def check(kept: int, stated: int) -> None:
        # Longer than stated: the rest is no request. Shorter: the client disconnects and reads no answer.
        answer = ask(service, b"POST", b"/v3/images/edits", [KEYED, FORM], whole[:kept], stated_length=stated)
        if stated <= kept:
            _check(answer)

    explore(check, count, kept=st.integers(0, len(whole)), stated=st.integers(0, 2 * len(whole)))


@pytest.mark.parametrize(
    "parts",
    [
        [PROMPT, IMAGE, *[_part(f"f{number}", b"1") for number in range(5000)]],
        [PROMPT, *[_part("image[]", PNG, f"{number}.png") for number in range(500)]],
        [PROMPT, IMAGE, *[_part("seed", b"1")] * 90],
        [PROMPT, IMAGE, *[_part(f"metadata[{number}]", b"1") for number in range(95)]],
        [_part("prompt", b"a" * 2_000_000), IMAGE],
        [PROMPT, _part("image", b"\x00" * 30_000_000, "a.png")],
        [PROMPT, Part(IMAGE.head + b"\r\nX: " + b"a" * 2_000_000, PNG)],
        [PROMPT, Part(b"\r\n".join([IMAGE.head, *[b"X: y"] * 5000]), PNG)],
        [PROMPT, _part("a" * 100_000, b"1"), IMAGE],
    ],
    ids=["fields", "files", "the same", "metadata", "long field", "large file", "long header", "headers", "long name"],
)
def test_a_form_with_too_much_of_something_is_refused(service: Service, parts: list[Part]) -> None:
    answer = ask(service, b"POST", b"/v3/images/edits", [KEYED, FORM], _body(parts))
    _check(answer)
    assert answer is not None
    assert answer.status == 400
