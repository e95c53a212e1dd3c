"""An Open WebUI with the settings of docs/clients.md, used as its own page does; prints a line for each step."""

import base64
import json
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
from typing import Any

# What else a start without the internet needs: no accounts, no models of language, nothing downloaded.
ALONE = {
    "WEBUI_AUTH": "False",
    "OFFLINE_MODE": "true",
    "HF_HUB_OFFLINE": "1",
    "ENABLE_OLLAMA_API": "false",
    "ENABLE_OPENAI_API": "false",
    "WEBUI_SECRET_KEY": secrets.token_hex(24),
    "DATA_DIR": str(Path("data").resolve()),
}


class Page:
    """What its web page sends."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}"
        self._token = ""

    def is_there(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self._url}/health", timeout=5):
                return True
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    def sign_in(self) -> None:
        self._token = json.loads(self.ask("/api/v1/auths/signin", {"email": "", "password": ""}))["token"]

    def ask(self, path: str, body: dict[str, Any] | None = None) -> bytes:
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self._token}"}
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(self._url + path, data, headers), timeout=300) as answer:
            content: bytes = answer.read()
        return content

    def images(self, path: str, **body: Any) -> list[bytes]:
        """Return the images that Open WebUI has stored for a request."""
        return [self.ask(image["url"]) for image in json.loads(self.ask(f"/api/v1/images/{path}", body))]


def exercise(page: Page) -> None:
    page.sign_in()
    (drawn,) = page.images("generations", prompt="a red circle on a blue background")
    assert drawn.startswith(b"\x89PNG\r\n\x1a\n")
    print("generate: one PNG")
    stars = page.images("generations", prompt="a yellow star", n=2, size="256x256")
    assert len(stars) == 2 and stars[0][16:24] == bytes([0, 0, 1, 0, 0, 0, 1, 0])
    print("n = 2: two PNGs")
    print("size: 256x256")
    image = "data:image/png;base64," + base64.b64encode(stars[0]).decode()
    (edited,) = page.images("edit", image=image, prompt="a red star on a blue background")
    (in_a_list,) = page.images("edit", image=[image], prompt="a red star on a blue background")
    assert edited.startswith(b"\x89PNG") and in_a_list.startswith(b"\x89PNG") and edited != stars[0]
    print("edit: one PNG, also of a list of one image")


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def main() -> None:
    print(f"version: open-webui {version('open-webui')}")
    settings = dict(line.split("=", 1) for line in Path("open_webui.env").read_text().splitlines())
    port = free_port()
    page = Page(port)
    command = [str(Path(sys.executable).with_name("open-webui")), "serve", "--host", "127.0.0.1", "--port", str(port)]
    with Path("open-webui.log").open("wb") as log:
        process = subprocess.Popen(command, env={**os.environ, **ALONE, **settings}, stdout=log, stderr=log)
    try:
        for _ in range(600):
            assert process.poll() is None, "Open WebUI ended"
            if page.is_there():
                break
            threading.Event().wait(0.5)
        exercise(page)
    finally:
        process.terminate()
        process.wait(60)


main()
