"""What docs/clients.md shows of openai-python, and what an application sees of it; prints a line for each step."""

# recipe begins
import base64

import openai

client = openai.OpenAI(base_url="http://127.0.0.1:8000/v1", api_key="unused")
drawn = client.images.generate(prompt="a red circle on a blue background")
with open("circle.png", "wb") as file:
    file.write(base64.b64decode(drawn.data[0].b64_json))

two = client.images.generate(prompt="a yellow star on a purple background", n=2, size="256x256")

with open("circle.png", "rb") as image:
    edited = client.images.edit(image=image, prompt="a red star on a blue background", extra_body={"strength": 0.7})

with open("circle.png", "rb") as image, open("mask.png", "rb") as mask:
    repainted = client.images.edit(image=image, mask=mask, prompt="a green square on a blue background")

models = [model.id for model in client.models.list()]

stream = client.images.generate(prompt="a white heart on a red background", stream=True, partial_images=2)
events = [event.type for event in stream]
# recipe ends

import sys

PNG = b"\x89PNG\r\n\x1a\n"


def images_of(answer: openai.types.ImagesResponse) -> list[bytes]:
    images = [base64.b64decode(item.b64_json) for item in answer.data]
    assert all(image.startswith(PNG) for image in images)
    return images


print(f"version: openai {openai.__version__}, Python {sys.version.split()[0]}")
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
assert events == ["image_generation.partial_image"] * 2 + ["image_generation.completed"], events
print(f"stream: {', '.join(events)}")
try:
    client.images.generate(prompt="a star", size="100x100")
except openai.BadRequestError as error:
    print(f"error: {error.body['message']}")
leaving = client.images.generate(prompt="CANCELLED", size="1024x1024", stream=True, partial_images=3)
next(iter(leaving))
leaving.close()
print("cancel: the stream is closed after its first event")
