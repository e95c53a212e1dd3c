"""gpt-image-mcp with the configuration of docs/clients.md, used as an assistant does; prints a line for each step."""

import json
import threading
import urllib.request
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mcp_stdio import McpServer


def drawn(answer: dict[str, Any]) -> dict[str, Any]:
    """Return what the tool says of its image, after a look at the file."""
    result: dict[str, Any] = json.loads(answer["content"][0]["text"])
    assert result["success"], result
    assert Path(result["file_path"]).read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    return result


def ask(path: str, body: dict[str, Any] | None = None) -> Any:
    """Ask the service itself."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:8000/v1{path}", data, headers)) as answer:
        return json.load(answer)


def jobs_of(prompt: str) -> list[str]:
    """Return the ids of the newest jobs whose prompt begins like this."""
    return [job["id"] for job in ask("/images/jobs")["data"] if job["prompt"].startswith(prompt)]


def new_job_of(prompt: str, known: list[str]) -> str:
    """Return the id of a job of a prompt as soon as there is another than the known ones."""
    for _ in range(600):
        new = [job_id for job_id in jobs_of(prompt) if job_id not in known]
        if new:
            return new[0]
        threading.Event().wait(0.1)
    raise AssertionError("the tool sent no request in a minute")


print(f"version: gpt-image-mcp {version('gpt-image-mcp')}, openai {version('openai')}")
with McpServer("gpt_image_mcp.json") as server:
    first = drawn(server.call("generate_image", prompt="a red circle on a blue background"))
    assert first["metadata"]["model_used"] == "gpt-image-1", first
    print("generate: one PNG")
    edited = drawn(server.call("generate_image", prompt="a red star", reference_image=first["file_path"]))
    assert edited["metadata"]["generation_method"] == "image_api_edit", edited
    print("edit: one PNG")
    # A long job of somebody else holds the device until the tool has been stopped.
    before = ask("/images/jobs", {"prompt": "long", "n": 10, "num_inference_steps": 100})
    known = jobs_of("CANCELLED")
    number = server.begin("generate_image", prompt="CANCELLED")
    waiting = new_job_of("CANCELLED", known)
    server.cancel(number)
    while ask(f"/images/jobs/{waiting}")["status"] == "queued":
        threading.Event().wait(0.1)
    ask(f"/images/jobs/{before['id']}/cancel", {})
    print("cancel: the tool is stopped while its image waits")
