"""image-generation-mcp with the configuration of docs/clients.md, used as an assistant does; a line for each step."""

import json
import threading
from importlib.metadata import version
from typing import Any

from mcp_stdio import McpServer


def begun(answer: dict[str, Any]) -> str:
    image_id: str = json.loads(answer["content"][0]["text"])["image_id"]
    return image_id


def ended(server: McpServer, image_id: str) -> dict[str, Any]:
    """Ask as an assistant does, until the image is drawn or has failed."""
    for _ in range(240):
        status: dict[str, Any] = json.loads(
            server.call("check_generation_status", image_id=image_id)["content"][0]["text"]
        )
        if status["status"] != "generating":
            return status
        threading.Event().wait(0.5)
    raise AssertionError("the image was not drawn in two minutes")


print(f"version: image-generation-mcp {version('image-generation-mcp')}, openai {version('openai')}")
with McpServer("image_generation_mcp.json") as server:
    first = begun(server.call("generate_image", prompt="a red circle on a blue background"))
    assert ended(server, first)["status"] == "completed"
    kinds = [part["type"] for part in server.call("show_image", uri=f"image://{first}/view")["content"]]
    assert "image" in kinds, kinds
    print("generate: one image of 1024x1024")
    uri = f"image://{first}/view"
    edited = begun(server.call("transform_image", prompt="a red star", reference_images=[uri]))
    assert ended(server, edited)["status"] == "completed"
    print("edit: one image of 1024x1024")
    # The image is its own mask: where it is white, it is repainted.
    repainted = begun(server.call("transform_image", prompt="a star", reference_images=[uri], mask=uri))
    assert ended(server, repainted)["status"] == "completed"
    print("mask: one image of 1024x1024")
    refused = ended(server, begun(server.call("generate_image", prompt="a star", aspect_ratio="16:9")))
    assert refused["status"] == "failed", refused
    print(f"error: {refused['error']}")
