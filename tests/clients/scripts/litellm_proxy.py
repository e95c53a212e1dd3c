"""A LiteLLM proxy with the configuration of docs/clients.md, with openai-python in front; a line for each step."""

import base64
import os
import secrets
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from importlib.metadata import version
from pathlib import Path

import openai

PNG = b"\x89PNG\r\n\x1a\n"
PROMPT = "a red circle on a blue background"


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def images_of(answer: openai.types.ImagesResponse) -> list[bytes]:
    images = [base64.b64decode(item.b64_json) for item in answer.data]
    assert all(image.startswith(PNG) for image in images)
    return images


def wait_until_it_lives(url: str, process: "subprocess.Popen[bytes]") -> None:
    for _ in range(240):
        assert process.poll() is None, "the proxy ended"
        try:
            with urllib.request.urlopen(f"{url}/health/liveliness", timeout=5):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            threading.Event().wait(0.5)
    raise AssertionError("the proxy did not begin to listen in two minutes")


def exercise(client: openai.OpenAI) -> None:
    drawn = images_of(client.images.generate(model="gpt-image-1", prompt=PROMPT))
    assert len(drawn) == 1
    print("generate: one PNG")
    two = images_of(client.images.generate(model="gpt-image-1", prompt=PROMPT, n=2, size="256x256"))
    assert len(two) == 2 and two[0][16:24] == bytes([0, 0, 1, 0, 0, 0, 1, 0])
    print("n = 2: two PNGs")
    print("size: 256x256")
    edited = client.images.edit(model="gpt-image-1", image=drawn[0], prompt="a star", extra_body={"strength": 0.7})
    assert images_of(edited) != drawn
    print("edit: one PNG")
    mask = Path("mask.png").read_bytes()
    assert images_of(client.images.edit(model="gpt-image-1", image=drawn[0], mask=mask, prompt="a star")) != drawn
    print("mask: one PNG")
    models = [model.id for model in client.models.list()]
    assert models == ["gpt-image-1"], models
    print("list: the model_name of its own configuration")
    try:
        client.images.generate(model="gpt-image-1", prompt="a star", size="100x100")
    except openai.BadRequestError as error:
        print(f"error: {error.body['message']}")


def main() -> None:
    print(f"version: litellm {version('litellm')} (proxy), openai {openai.__version__} in front of it")
    port, key = free_port(), "sk-" + secrets.token_hex(24)
    command = [str(Path(sys.executable).with_name("litellm")), "--config", "litellm_proxy.yaml", "--port", str(port)]
    with Path("proxy.log").open("wb") as log:
        environment = {**os.environ, "LITELLM_MASTER_KEY": key}
        process = subprocess.Popen([*command, "--host", "127.0.0.1"], env=environment, stdout=log, stderr=log)
    try:
        wait_until_it_lives(f"http://127.0.0.1:{port}", process)
        exercise(openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key=key, max_retries=0))
    finally:
        process.terminate()
        process.wait(30)


main()
