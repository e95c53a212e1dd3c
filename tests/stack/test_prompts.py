"""Prompts with anything in them, through the real tokenizer and the real pipeline of the bundled model."""

import pytest
from hypothesis import strategies as st

from tests.fuzz.fuzz_support import check_answer, examples, explore
from tests.support.service import Service

SMALL = {"num_inference_steps": 1, "size": "64x64"}
PROMPTS = [
    *("", " ", "\x00", "a\x00b", "".join(map(chr, range(32))), "\x7f\x80\x9f", "\ufeff", "\uffff\ufffe", "\U0010ffff"),
    *("<|endoftext|>", "<|startoftext|>" * 100, "<|endoftext|>" * 2000, "</w>", "<pad>", "[UNK]", "Ġ", "##a"),
    *(
        "🙂" * 1000,
        "👩‍👩‍👧‍👦" * 300,
        "e" + "\u0301" * 5000,
        "\u202e\u2066\u2069",
        "ﷺ" * 500,
        "日本語" * 500,
        "ß" * 1000,
    ),
    *("a" * 32_000, "a " * 16_000, "\n" * 32_000, "." * 32_000, "ж" * 32_000, "🙂" * 32_000, "%s%n%x" * 50, "{0}{}"),
]


def _draw(service: Service, prompt: str, **fields: str) -> None:
    before = service.worker_pids()
    answer = service.http.post("/v3/images/generations", json={"prompt": prompt, **SMALL, **fields})
    check_answer(answer.status_code, answer.headers["content-type"], answer.headers["x-request-id"], answer.content)
    assert answer.status_code == 200, answer.text
    assert service.worker_pids() == before


def test_any_prompt_is_drawn(service: Service) -> None:
    for prompt in PROMPTS:
        _draw(service, prompt)
        _draw(service, "a star", negative_prompt=prompt)


@examples(20, 75)
def test_any_text_is_drawn(service: Service, count: int) -> None:
    words = st.sampled_from(PROMPTS).map(lambda text: text[:50]) | st.text(max_size=40)
    explore(lambda parts: _draw(service, "".join(parts)), count, parts=st.lists(words, max_size=4))


@pytest.mark.parametrize("length", [32_001, 100_000])
def test_a_longer_prompt_is_refused_by_name(service: Service, length: int) -> None:
    answer = service.http.post("/v3/images/generations", json={"prompt": "a" * length, **SMALL})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "prompt")


def test_half_a_surrogate_is_refused(service: Service) -> None:
    headers = {"Content-Type": "application/json"}
    answer = service.http.post("/v3/images/generations", content=rb'{"prompt": "\ud800"}', headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_json")


def test_nothing_unforeseen_was_met(service: Service) -> None:
    _draw(service, "a red circle")
    assert "Traceback" not in service.log.read_text()
