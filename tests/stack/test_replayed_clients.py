"""Programs that are not started here: their requests, byte for byte, and what they read of the answers."""

import base64
import json
from collections.abc import Iterator

import httpx2
import pytest
from PIL import Image

from tests.stack.replayed_clients import Replay, replays
from tests.support.images import image_bytes, red_image
from tests.support.polling import wait_until
from tests.support.raw_requests import Answer, answer_to, sending
from tests.support.service import Service, serving, write_graph

PNG = b"\x89PNG\r\n\x1a\n"
SIDE = 128
MASK = Image.new("L", (SIDE, SIDE), "white")
REPLAYS = replays(image_bytes(red_image(size=(SIDE, SIDE))), image_bytes(MASK))


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A small model under the name demo, which draws the nearest of the sizes that these programs ask for."""
    folder = tmp_path_factory.mktemp("replayed")
    model = write_graph(folder / "demo", steps=2, more=f'max_resolution: "{SIDE}x{SIDE}"')
    environment = {"IMAGEGEN_HTTP__DEFAULT_SIZE_FIT": "nearest"}
    with serving(folder, "--model_path", str(model), environment=environment) as running:
        yield running


@pytest.mark.parametrize("replay", REPLAYS, ids=lambda replay: f"{replay.client}-{replay.step}")
def test_a_program_finds_the_image_it_reads(replayed: Service, replay: Replay) -> None:
    answer = answer_to(replayed.url, replay.head, replay.body)
    assert answer.status == 200, answer.content
    items = json.loads(answer.content)["data"]
    assert len(items) == replay.images
    for item in items:
        image = base64.b64decode(item["b64_json"]) if replay.reads == "b64_json" else httpx2.get(item["url"]).content
        assert image.startswith(PNG)


def _of(client: str, step: str) -> Replay:
    (found,) = (replay for replay in REPLAYS if (replay.client, replay.step) == (client, step))
    return found


def _error(answer: Answer, status: int) -> str:
    assert answer.status == status
    message: str = json.loads(answer.content)["error"]["message"]
    return message


def test_a_program_shows_the_sentence_of_an_error(replayed: Service) -> None:
    """LibreChat and n8n show error.message; AnythingLLM the whole body; Open WebUI only the words of the status."""
    drawn = _of("LibreChat", "generate")
    transparent = drawn.body.replace(b'"background":"auto"', b'"background":"transparent"')
    message = _error(answer_to(replayed.url, drawn.head, transparent), 400)
    assert message == "Images have no transparency here; leave background out or send auto."
    other = _of("n8n", "generate")
    unknown = other.body.replace(b"gpt-image-1-mini", b"sd-turbo")
    message = _error(answer_to(replayed.url, other.head, unknown), 404)
    assert message == "The model 'sd-turbo' does not exist. Available: demo."


def test_n8n_finds_models_in_the_list_by_their_names(replayed: Service) -> None:
    """Its menu has only ids with dall-e or gpt-image in them."""
    head = "GET /v1/models HTTP/1.1\nAccept: application/json\nUser-Agent: n8n\nAuthorization: Bearer unused"
    listed = [model["id"] for model in json.loads(answer_to(replayed.url, head).content)["data"]]
    menu = [name for name in listed if "dall-e" in name or "gpt-image" in name]
    assert listed[0] == "demo" and {"gpt-image-1", "gpt-image-1-mini", "dall-e-2", "dall-e-3"} <= set(menu)


@pytest.mark.parametrize("client", ["LibreChat", "AnythingLLM"])
@pytest.mark.parametrize("step", ["generate", "edit"])
def test_a_program_that_leaves_cancels_its_job(replayed: Service, client: str, step: str) -> None:
    """Their stop buttons close the connection. A long job before it holds the device until the client has left."""
    long = {"prompt": "long", "n": 4, "num_inference_steps": 100}
    before = replayed.http.post("/v1/images/jobs", json=long).json()
    replay = _of(client, step)
    known = {job["id"] for job in _jobs(replayed)}
    with sending(replayed.url, replay.head, replay.body):
        wait_until(lambda: {job["id"] for job in _jobs(replayed)} - known, "its job is there")
    (job_id,) = {job["id"] for job in _jobs(replayed)} - known
    wait_until(
        lambda: replayed.http.get(f"/v1/images/jobs/{job_id}").json()["status"] == "cancelled", "it is cancelled"
    )
    replayed.http.post(f"/v1/images/jobs/{before['id']}/cancel")


def _jobs(service: Service) -> list[dict[str, str]]:
    listed: list[dict[str, str]] = service.http.get("/v1/images/jobs", params={"limit": 100}).json()["data"]
    return listed
