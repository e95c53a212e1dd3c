"""The name of a model at Hugging Face as people write it: ``org/name``, or ``org/name@revision``."""

import re
from dataclasses import dataclass

from graphs.adapters.lora_source import REPOSITORY
from graphs.errors import ConfigurationError

MAIN = "main"
_PAGE = re.compile(r"https?://(?:www\.)?(?:huggingface\.co|hf\.co)/([^/@?#]+/[^/@?#]+?)(?:/tree/([^?#]+?))?/?")


@dataclass(frozen=True)
class ModelSource:
    """A repository and one of its revisions: a branch, a tag or a commit."""

    name: str
    revision: str = MAIN

    def __str__(self) -> str:
        """Return how it is written."""
        return self.name if self.revision == MAIN else f"{self.name}@{self.revision}"


def parse_model_source(text: str) -> ModelSource:
    """Read ``org/name``, ``org/name@revision``, or the address of a model's page. Raises ConfigurationError."""
    text = text.strip()
    page = _PAGE.fullmatch(text)
    name, at, revision = (page[1], "@", page[2] or MAIN) if page else text.partition("@")
    if not REPOSITORY.fullmatch(name):
        raise ConfigurationError(
            f"{text!r} is not the name of a model at Hugging Face: it is written org/name or org/name@revision, as in "
            "OpenVINO/stable-diffusion-v1-5-int8-ov."
        )
    if at and not revision:
        raise ConfigurationError(f"{text!r} names no revision after the @.")
    return ModelSource(name, revision or MAIN)
