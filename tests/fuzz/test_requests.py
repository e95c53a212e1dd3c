"""Bodies, headers, paths and queries with anything in them: what no schema can say."""

import json
import re
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import strategies as st

from api.request.schemas import EditBody
from tests.api.api_support import DATA_URL
from tests.fuzz.fuzz_support import check_answer, examples, explore
from tests.fuzz.raw_http import KEY, Answer, ask
from tests.support.service import Service

JSON = (b"Content-Type", b"application/json")
KEYED = (b"Authorization", KEY)
FIELDS = sorted(EditBody.model_fields)
STRANGE_TEXTS = [
    *("", " ", "\x00", "a\x00b", "\x1b[2J", "\x7f", "\u202e\u2066 abc", "\ufeff", "\uffff", "🙂" * 50, "é\u0301"),
    *("../../etc/passwd", "%2e%2e%2f", "{{7*7}}", "${jndi:x}", "'; --", "<script>", "a\r\nX-Injected: 1"),
    *("512x512", "-1x-1", "99999999999x1", "auto", "null", "true", "NaN", "1e400", "data:,", "data:image/png;base64,"),
]
# As they stand in a JSON text: Python's own writer makes none of these.
STRANGE_VALUES = [
    *("NaN", "Infinity", "-Infinity", "1e400", "-1e400", "1e-400", "-0", "-0.0", "0x10", "01", "+1", ".5", "1."),
    *("9" * 30, "-" + "9" * 400, "9" * 5000, "1." + "3" * 3000, "1E+308", "2.2250738585072012e-308"),
    *(r'"\ud800"', r'"\udc00\ud800"', r'"\u0000"', r'"\uFFFE"', '"\t"', '"\x00"', '"\\x"', '"unended', "'a'"),
    *("[" * 500 + "]" * 500, '{"a":' * 300 + "1" + "}" * 300, "[" * 100_000, "{}", "[]", "[[]]", "undefined", ""),
]


def _text(value: Any) -> str:
    return json.dumps(value)


VALUES = st.recursive(
    st.sampled_from(STRANGE_VALUES)
    | st.sampled_from(STRANGE_TEXTS).map(_text)
    | (st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats()).map(_text)
    | st.text(st.characters(), max_size=30).map(_text),
    lambda inner: (
        st.lists(inner, max_size=4).map(lambda values: f"[{','.join(values)}]")
        | st.lists(st.tuples(st.text(max_size=5).map(_text), inner), max_size=4).map(
            lambda pairs: "{" + ",".join(f"{name}:{value}" for name, value in pairs) + "}"
        )
    ),
    max_leaves=6,
)
NAMES = st.sampled_from(FIELDS) | st.sampled_from(STRANGE_TEXTS) | st.text(max_size=10)
PAIRS = st.lists(st.tuples(NAMES.map(_text), VALUES), max_size=4)
BASES = st.sampled_from(["", '"prompt":"a star"', f'"prompt":"a star","images":[{{"image_url":"{DATA_URL}"}}]'])
HEADER_BYTES = st.binary(max_size=60).map(lambda value: re.sub(rb"[\x00\r\n]", b"?", value))
HEADERS = {
    b"Prefer": [b"respond-async", b"wait=0", b"wait=999999", b"wait=-1", b"wait=1e9", b"WAIT=1,,,;;", b"wait=\xb2"],
    b"Idempotency-Key": [b"", b"a", b"\xff" * 256, b"k" * 257, b"\xc3\xa9", b"\t", b"a" * 7000],
    b"Cancel-After": [b"30s", b"0", b"-1s", b"999999999h", b"1e5s", b"0.0000001s", b"\xd9\xa3s", b"NaN", b"inf"],
    b"x-stainless-retry-count": [b"0", b"1", b"9999", b"99999", b"-1", b"one"],
    b"x-stainless-timeout": [b"0", b"600", b"NaN", b"inf", b"999999999.999999", b"NOT_GIVEN"],
    b"x-stainless-read-timeout": [b"0", b"5.0", b"None", b"\xb2"],
    b"Authorization": [b"", b"Bearer", b"Bearer ", b"Basic YTpi", b"bearer user-key", b"Bearer \xff", b"Bearer a b c"],
    b"api-key": [b"", b"user-key", b"administrator-key\x01", b"\xff"],
    b"x-request-id": [b"a", b"a" * 129, b"\xff", b"<script>"],
    b"Range": [b"bytes=0-", b"bytes=9-1", b"bytes=-0", b"bytes=" + b"0-0," * 500, b"lines=1-2"],
    b"Content-Type": [
        *(
            b"",
            b"application/json; charset=utf-7",
            b"application/json; charset=\xff",
            b"text/plain",
            b"APPLICATION/JSON",
        ),
        *(b"multipart/form-data", b"multipart/form-data; boundary=", b'multipart/form-data; boundary="'),
        *(b"multipart/form-data; boundary=\xff", b"multipart/form-data; boundary=" + b"a" * 5000, b"multipart/mixed"),
    ],
    b"Accept": [b"text/event-stream", b"image/png", b"\xff"],
    b"Host": [b"", b"evil.example", b"a b", b"\xff", b"[::1", b"a:99999"],
    b"X-Forwarded-For": [b"1.2.3.4", b"\xff"],
    b"X-Forwarded-Proto": [b"https", b"javascript"],
    b"Transfer-Encoding": [b"chunked", b"identity", b"gzip, chunked"],
    b"Expect": [b"100-continue", b"200-ok"],
    b"Upgrade": [b"websocket", b"h2c"],
}
ANY_HEADERS = st.lists(
    st.sampled_from(sorted(HEADERS)).flatmap(
        lambda name: st.tuples(st.just(name), st.sampled_from(HEADERS[name]) | HEADER_BYTES)
    ),
    max_size=5,
)
STRANGE_SEGMENTS = [
    *(b"", b".", b"..", b"%2e%2e", b"..%2f..%2fetc%2fpasswd", b"%00", b"a%00b", b"%ff", b"%", b"%zz", b"%2f", b"a;b"),
    *(
        b"\xff",
        b"\xc3\xa9",
        b"imgjob_" + b"a" * 5000,
        b"*",
        b"[",
        b"\\",
        b"..\\..",
        b"%252e",
        b"imgjob_*",
        b"%0d%0aX:1",
    ),
]
SEGMENTS = st.sampled_from(STRANGE_SEGMENTS) | st.binary(max_size=20).map(lambda raw: quote(raw, safe=b"").encode())
PATHS = st.sampled_from(
    [
        *(
            b"/v3/images/jobs/%s",
            b"/v1/images/jobs/%s/content",
            b"/v3/images/jobs/%s/result",
            b"/v3/images/jobs/%s/events",
        ),
        *(b"/v3/images/jobs/%s/cancel", b"/v3/images/files/%s.png", b"/v3/models/%s", b"/v3/lora_adapters/%s", b"/%s"),
        *(
            b"/swagger-ui/%s",
            b"/v3/images/jobs?after=%s",
            b"/v3/images/jobs?limit=%s",
            b"/v3/images/jobs?status=%s",
        ),
        *(b"/v3/images/jobs?order=%s&order=asc", b"/v3/images/jobs/x/events?starting_after=%s", b"/v3/images/jobs?%s"),
    ]
)
METHODS = st.sampled_from([b"GET", b"GET", b"GET", b"POST", b"PUT", b"DELETE", b"HEAD", b"OPTIONS", b"PATCH", b"TRACE"])


def _check(answer: Answer | None) -> None:
    assert answer is not None, "no answer"
    check_answer(answer.status, answer.kind, answer.headers.get("x-request-id"), answer.content)


@examples(60, 350)
@pytest.mark.parametrize("path", ["generations", "edits", "jobs"])
def test_any_json_is_drawn_or_refused(service: Service, path: str, count: int) -> None:
    target = f"/v3/images/{path}".encode()

    def check(base: str, pairs: list[tuple[str, str]], tail: str) -> None:
        fields = [base] if base else []
        text = "{" + ",".join(fields + [f"{name}:{value}" for name, value in pairs]) + "}" + tail
        _check(ask(service, b"POST", target, [JSON, KEYED], text.encode("utf-8", "surrogatepass")))

    tails = st.sampled_from(["", "", "", "", " ", "\x00", "}", "{}", "\ufeff"])
    explore(check, count, base=BASES, pairs=PAIRS, tail=tails)


@examples(30, 150)
def test_any_bytes_are_no_body(service: Service, count: int) -> None:
    def check(body: bytes) -> None:
        _check(ask(service, b"POST", b"/v3/images/generations", [JSON, KEYED], body))

    explore(check, count, body=st.binary(max_size=300))


@examples(80, 500)
def test_any_header_is_taken_or_refused(service: Service, count: int) -> None:
    body = b'{"prompt": "a star"}'

    def check(headers: list[tuple[bytes, bytes]], path: str) -> None:
        keyed = [] if any(name == b"Authorization" for name, _ in headers) else [KEYED]
        answer = ask(service, b"POST", f"/v3/images/{path}".encode(), [*keyed, *headers], body)
        # A body that ends in the middle of its chunks is that of a client that has left.
        if answer is not None or b"Transfer-Encoding" not in dict(headers):
            _check(answer)

    explore(check, count, headers=ANY_HEADERS, path=st.sampled_from(["generations", "edits", "jobs"]))


@examples(80, 500)
def test_any_path_and_query_lead_somewhere_or_nowhere(service: Service, count: int) -> None:
    def check(method: bytes, path: bytes, segment: bytes) -> None:
        answer = ask(service, method, path % segment, [KEYED])
        if method != b"HEAD":
            _check(answer)

    explore(check, count, method=METHODS, path=PATHS, segment=SEGMENTS)


@pytest.mark.parametrize("field", ["prompt", "model", "size", "user", "images", "response_format", "x" * 100])
@pytest.mark.parametrize("size", [100_000, 900_000, 20_000_000])
def test_a_very_long_value_is_refused_in_a_short_sentence(service: Service, field: str, size: int) -> None:
    body = f'{{"{field}": "{"a" * size}"}}'.encode()
    answer = ask(service, b"POST", b"/v3/images/jobs", [JSON, KEYED], body)
    assert answer is not None
    if field == "images":  # base64 of no image
        assert answer.status == 400
    elif size > 2**20:
        assert answer.status == 413
    elif field != "user":
        assert answer.status in (400, 404)
    _check(answer)


@pytest.mark.parametrize(
    "body",
    ['{"%s": 1}', '{"prompt": "x", "metadata": {"%s": 1}}', '{"prompt": "x", "lora_alphas": {"%s": "x"}}'],
    ids=["field", "metadata", "alias"],
)
def test_a_very_long_name_is_refused_in_a_short_sentence(service: Service, body: str) -> None:
    for length, status in ((900_000, 400), (10_000_000, 413)):
        answer = ask(service, b"POST", b"/v3/images/jobs", [JSON, KEYED], (body % ("a" * length)).encode())
        _check(answer)
        assert answer is not None
        assert answer.status == status
        assert len(answer.content) < 1000


@pytest.mark.parametrize("opening", ["[", '{"a":', '{"images":['])
def test_very_deep_nesting_is_refused(service: Service, opening: str) -> None:
    for depth, status in ((1_000, 400), (90_000, 400), (2_000_000, 413)):
        body = (opening * depth).encode()
        answer = ask(service, b"POST", b"/v3/images/jobs", [JSON, KEYED], body)
        assert answer is not None
        assert answer.status == status
        _check(answer)
