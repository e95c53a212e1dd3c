"""gpt-image-mcp with the configuration of docs/clients.md, used as an assistant does; prints a line for each step."""

import json
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


print(f"version: gpt-image-mcp {version('gpt-image-mcp')}, openai {version('openai')}")
with McpServer("gpt_image_mcp.json") as server:
    first = drawn(server.call("generate_image", prompt="a red circle on a blue background"))
    assert first["metadata"]["model_used"] == "gpt-image-1", first
    print("generate: one PNG")
    edited = drawn(server.call("generate_image", prompt="a red star", reference_image=first["file_path"]))
    assert edited["metadata"]["generation_method"] == "image_api_edit", edited
    print("edit: one PNG")
