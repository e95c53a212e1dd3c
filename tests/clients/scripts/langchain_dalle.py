"""What docs/clients.md shows of LangChain, and what an application sees of it; prints a line for each step."""

# recipe begins
from langchain_community.tools.openai_dalle_image_generation import OpenAIDALLEImageGenerationTool
from langchain_community.utilities.dalle_image_generator import DallEAPIWrapper

wrapper = DallEAPIWrapper(base_url="http://127.0.0.1:8000/v1", api_key="unused", size="128x128")
url = wrapper.run("a red circle on a blue background")

tool = OpenAIDALLEImageGenerationTool(api_wrapper=wrapper)
same_way = tool.invoke("a yellow star on a purple background")
# recipe ends

import sys
import urllib.request
from importlib.metadata import version

import openai

SERVICE = {"base_url": "http://127.0.0.1:8000/v1", "api_key": "unused"}


def image_of(address: str) -> bytes:
    with urllib.request.urlopen(address) as answer:
        image: bytes = answer.read()
    assert image.startswith(b"\x89PNG\r\n\x1a\n")
    return image


names = ("langchain-community", "langchain-core", "openai")
print(f"version: {', '.join(f'{name} {version(name)}' for name in names)}, Python {sys.version.split()[0]}")
image_of(url)
image_of(same_way)
# Nothing but the address: the wrapper's own default size is 1024x1024.
assert image_of(DallEAPIWrapper(**SERVICE).run("a star"))[16:24] == bytes([0, 0, 4, 0, 0, 0, 4, 0])
print("generate: URLs of one PNG each, by the wrapper and by the tool")
two = DallEAPIWrapper(n=2, size="256x256", **SERVICE).run("a star").split("\n")
assert len(two) == 2 and image_of(two[0])[16:24] == bytes([0, 0, 1, 0, 0, 0, 1, 0])
print("n = 2: two URLs")
print("size: 256x256")
try:
    DallEAPIWrapper(size="100x100", **SERVICE).run("a star")
except openai.BadRequestError as error:
    print(f"error: {error.body['message']}")
