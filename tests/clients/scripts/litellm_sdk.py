"""What docs/clients.md shows of LiteLLM's SDK, and what an application sees of it; prints a line for each step."""

# recipe begins
import base64

import litellm

address = {"api_base": "http://127.0.0.1:8000/v1", "api_key": "unused"}
service = {"model": "openai/gpt-image-1", **address}
drawn = litellm.image_generation(prompt="a red circle on a blue background", **service)
with open("circle.png", "wb") as file:
    file.write(base64.b64decode(drawn.data[0].b64_json))

two = litellm.image_generation(prompt="a yellow star on a purple background", n=2, size="256x256", **service)

with open("circle.png", "rb") as image:
    edited = litellm.image_edit(image=image, prompt="a red star on a blue background", strength=0.7, **service)

with open("circle.png", "rb") as image, open("mask.png", "rb") as mask:
    repainted = litellm.image_edit(image=image, mask=mask, prompt="a green square on a blue background", **service)

models = litellm.get_valid_models(check_provider_endpoint=True, custom_llm_provider="openai", **address)
# recipe ends

import asyncio
import sys
from importlib.metadata import version

PNG = b"\x89PNG\r\n\x1a\n"


def images_of(answer: litellm.ImageResponse) -> list[bytes]:
    images = [base64.b64decode(item.b64_json) for item in answer.data]
    assert all(image.startswith(PNG) for image in images)
    return images


async def leave() -> None:
    """Leave a request that takes long after 1.5 s."""
    drawing = litellm.aimage_generation(prompt="CANCELLED", size="1024x1024", **service)
    try:
        await asyncio.wait_for(drawing, 1.5)
    except TimeoutError:
        print("cancel: the task is cancelled after 1.5 s")


print(f"version: litellm {version('litellm')}, Python {sys.version.split()[0]}")
assert len(images_of(drawn)) == 1
print("generate: one PNG")
assert len(images_of(two)) == 2 and images_of(two)[0][16:24] == bytes([0, 0, 1, 0, 0, 0, 1, 0])
print("n = 2: two PNGs")
print("size: 256x256")
assert images_of(edited) != images_of(drawn)
print("edit: one PNG")
assert images_of(repainted) != images_of(drawn)
print("mask: one PNG")
assert models[0] == "demo" and "gpt-image-1" in models, models
print(f"list: {', '.join(models)}")
try:
    litellm.image_generation(prompt="a star", size="100x100", **service)
except litellm.BadRequestError as error:
    print(f"error: {error.message}")
asyncio.run(leave())
