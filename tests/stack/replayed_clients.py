"""Requests of programs that cannot be started here, byte for byte but for the boundary and the size of an image.

The fields stand in the programs' sources; the headers and the forms are those of their HTTP libraries, captured on a
socket. Open WebUI's were captured from Open WebUI itself.

- LibreChat: api/app/clients/tools/structured/{OpenAIImageTools,DALLE3}.js (openai 5, axios with form-data)
- n8n: @n8n/n8n-nodes-langchain 2.41.1, nodes/vendors/OpenAi/v2/actions/image (axios with form-data)
- LobeChat: packages/model-runtime/src/core/openaiCompatibleFactory/createImage.ts (openai 5)
- AnythingLLM: server/utils/ImageGenerators/base.js (openai 5; fetch for edits)
- Open WebUI 0.12.4: backend/open_webui/routers/images.py (aiohttp)
- Azure: openai-node's AzureOpenAI, and the older path with a deployment
"""

from dataclasses import dataclass
from typing import Literal

Forms = Literal["form-data", "undici", "aiohttp"]
Field = tuple[str, str]
File = tuple[str, str, bytes]

_JSON = "content-type: application/json"
_ACCEPTED = "accept-language: *\nsec-fetch-mode: cors\naccept-encoding: gzip, deflate"
_NODE = f"""connection: keep-alive
Accept: application/json
User-Agent: OpenAI/JS 5.23.2
X-Stainless-Retry-Count: 0
X-Stainless-Lang: js
X-Stainless-Package-Version: 5.23.2
X-Stainless-OS: Linux
X-Stainless-Arch: x64
X-Stainless-Runtime: node
X-Stainless-Runtime-Version: v24.19.0
authorization: Bearer unused
{_ACCEPTED}"""
_AZURE = _NODE.replace("OpenAI/JS", "AzureOpenAI/JS").replace("authorization: Bearer unused", "api-key: unused")
_FETCH = f"connection: keep-alive\nAuthorization: Bearer unused\naccept: */*\n{_ACCEPTED}\nuser-agent: node"
_AXIOS = "Accept-Encoding: gzip, compress, deflate, br\nConnection: keep-alive\nAuthorization: Bearer unused"
_LIBRECHAT_EDIT = f"Accept: application/json, text/plain, */*\nUser-Agent: axios/1.21.1\n{_AXIOS}"
_N8N = f"Accept: application/json\nUser-Agent: n8n\n{_AXIOS}"
_AIOHTTP = """Authorization: Bearer unused
Accept: */*
Accept-Encoding: gzip, deflate, br
User-Agent: Python/3.11 aiohttp/3.14.5"""


@dataclass(frozen=True)
class Replay:
    """A request of a program, and what it needs to find in the answer."""

    client: str
    step: str
    head: str
    body: bytes
    reads: Literal["b64_json", "url"] = "b64_json"
    images: int = 1


def _json(client: str, step: str, path: str, headers: str, body: str, **more: object) -> Replay:
    return Replay(client, step, f"POST {path} HTTP/1.1\n{headers}\n{_JSON}", body.encode(), **more)  # type: ignore[arg-type]


def _form(
    client: str, step: str, path: str, headers: str, kind: Forms, parts: list[Field | File], **more: object
) -> Replay:
    boundary = {
        "form-data": "--------------------------bfead5d08f04a735f900ba5b",
        "undici": "----formdata-undici-049779991662",
        "aiohttp": "5b21d636e1e24302b02876884e77bb8e",
    }[kind]
    body = b"".join(f"--{boundary}\r\n".encode() + _part(kind, part) + b"\r\n" for part in parts)
    head = f"POST {path} HTTP/1.1\n{headers}\ncontent-type: multipart/form-data; boundary={boundary}"
    return Replay(client, step, head, body + f"--{boundary}--\r\n".encode(), **more)  # type: ignore[arg-type]


def _part(kind: Forms, part: Field | File) -> bytes:
    disposition = f'Content-Disposition: form-data; name="{part[0]}"'
    if len(part) == 3:
        disposition += f'; filename="{part[1]}"'
    media_type = "Content-Type: image/png" if len(part) == 3 else "Content-Type: text/plain; charset=utf-8"
    if kind == "aiohttp":
        lines = [media_type, disposition]
    else:
        lines = [disposition, media_type] if len(part) == 3 else [disposition]
    content = part[2] if len(part) == 3 else part[1].encode()
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


def replays(image: bytes, mask: bytes) -> list[Replay]:
    """Return all requests; ``image`` and ``mask`` are PNGs of one size."""
    return [
        *_librechat(image),
        *_n8n(image, mask),
        *_lobechat(image),
        *_anythingllm(image),
        *_open_webui(image),
        *_azure(image),
    ]


_GENERATE, _EDIT = "/v1/images/generations", "/v1/images/edits"
_LIBRECHAT = '"background":"auto","output_format":"png","quality":"auto","size":'


def _librechat(image: bytes) -> list[Replay]:
    drawn = '{"model":"gpt-image-1","prompt":"a red circle","n":%d,' + _LIBRECHAT
    dalle = '{"model":"dall-e-3","quality":"standard","style":"vivid","size":"1792x1024","prompt":"a star","n":1}'
    fields: list[Field | File] = [("model", "gpt-image-1"), ("prompt", "a star"), ("quality", "auto"), ("size", "auto")]
    edit = [*fields, ("image[]", "circle.png", image)]
    return [
        _json("LibreChat", "generate", _GENERATE, _NODE, drawn % 1 + '"auto"}'),
        _json("LibreChat", "n = 2", _GENERATE, _NODE, drawn % 2 + '"auto"}', images=2),
        _json("LibreChat", "size", _GENERATE, _NODE, drawn % 1 + '"1536x1024"}'),
        _json("LibreChat", "dalle", _GENERATE, _NODE, dalle, reads="url"),
        _form("LibreChat", "edit", _EDIT, _LIBRECHAT_EDIT, "form-data", edit),
    ]


def _n8n(image: bytes, mask: bytes) -> list[Replay]:
    more = ',"quality":"standard","size":"1024x1024","style":"vivid"}'
    stars = '{"prompt":"a star","model":"dall-e-2","response_format":"url","n":2,"size":"256x256"}'
    gpt: list[Field | File] = [
        *(("image[]", "data.png", image), ("prompt", "a star"), ("model", "gpt-image-1"), ("n", "1")),
        *(("size", "1024x1024"), ("quality", "auto")),
    ]
    dalle: list[Field | File] = [
        *(("image", "data.png", image), ("prompt", "a star"), ("model", "dall-e-2"), ("n", "1")),
        *(("size", "1024x1024"), ("response_format", "url")),
    ]
    masked = [*gpt, ("mask", "mask.png", mask)]
    return [
        _json("n8n", "generate", _GENERATE, _N8N, '{"prompt":"a red circle","model":"gpt-image-1-mini"}'),
        _json(
            "n8n", "size", _GENERATE, _N8N, '{"prompt":"a star","model":"dall-e-3","response_format":"b64_json"' + more
        ),
        _json("n8n", "n = 2", _GENERATE, _N8N, stars, reads="url", images=2),
        _form("n8n", "edit", _EDIT, _N8N, "form-data", gpt),
        _form("n8n", "edit of dall-e-2", _EDIT, _N8N, "form-data", dalle, reads="url"),
        _form("n8n", "mask", _EDIT, _N8N, "form-data", masked),
    ]


def _lobechat(image: bytes) -> list[Replay]:
    card = '{"model":"demo","n":1,"prompt":"a red circle","width":128,"height":128,"steps":2,"cfg":5,"seed":7}'
    fields: list[Field | File] = [
        ("model", "gpt-image-1"),
        ("n", "1"),
        ("input_fidelity", "high"),
        ("prompt", "a star"),
    ]
    named_dalle = '{"model":"dall-e-3","n":1,"response_format":"b64_json","prompt":"a star","size":"1024x1024"}'
    return [
        _json("LobeChat", "generate", _GENERATE, _NODE, card),
        _json("LobeChat", "size", _GENERATE, _NODE, named_dalle),
        _form("LobeChat", "edit", _EDIT, _NODE, "undici", [*fields, ("image", "image.png", image)]),
    ]


def _anythingllm(image: bytes) -> list[Replay]:
    body = '{"model":"gpt-image-1","prompt":"a red circle","size":"1024x1024","n":1}'
    fields: list[Field | File] = [("model", "gpt-image-1"), ("prompt", "a star"), ("size", "1024x1024"), ("n", "1")]
    edit = [*fields, ("image", "reference-0.png", image)]
    return [
        _json("AnythingLLM", "generate", _GENERATE, _NODE, body),
        _json("AnythingLLM", "generate as of Lemonade", "/api" + _GENERATE, _NODE, body),
        _json(
            "AnythingLLM",
            "generate by URL",
            "/api" + _GENERATE,
            _NODE,
            body.replace("gpt-image-1", "dall-e-3"),
            reads="url",
        ),
        _form("AnythingLLM", "edit", _EDIT, _FETCH, "undici", edit),
        _form("AnythingLLM", "edit as of Lemonade", "/api" + _EDIT, _FETCH, "undici", edit),
    ]


def _open_webui(image: bytes) -> list[Replay]:
    drawn = '{"model": "dall-e-2", "prompt": "a red circle", "n": 1, "size": "512x512", "response_format": "b64_json"}'
    fields: list[Field | File] = [("model", ""), ("prompt", "a star")]
    b64: Field = ("response_format", "b64_json")
    return [
        _json("Open WebUI", "generate", _GENERATE, _AIOHTTP, drawn),
        _form("Open WebUI", "edit", _EDIT, _AIOHTTP, "aiohttp", [*fields, b64, ("image", "a23be317.png", image)]),
        _form(
            *("Open WebUI", "n = 2", _EDIT, _AIOHTTP, "aiohttp"),
            [*fields, ("n", "2"), b64, ("image[]", "b72a48ee.png", image)],
            images=2,
        ),
    ]


def _azure(image: bytes) -> list[Replay]:
    version = "?api-version=2025-04-01-preview"
    deployment = "/openai/deployments/gpt-image-1"
    dalle, drawn = "/openai/deployments/dall-e-3", '{"prompt":"a red circle","n":1,"size":"1024x1024"}'
    body = '{"model":"gpt-image-1","prompt":"a red circle","n":1,"size":"1024x1024"}'
    fields: list[Field | File] = [("model", "gpt-image-1"), ("prompt", "a star"), ("image", "image.png", image)]
    return [
        _json("Azure", "generate", f"{deployment}/images/generations{version}", _AZURE, body),
        _json("Azure", "generate with dall-e-3", f"{dalle}/images/generations{version}", _AZURE, drawn, reads="url"),
        _form("Azure", "edit", f"/openai/images/edits{version}", _AZURE, "undici", fields),
        _form("Azure", "edit of a deployment", f"{deployment}/images/edits{version}", _AZURE, "undici", fields[1:]),
    ]
