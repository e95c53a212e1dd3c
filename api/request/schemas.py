"""The bodies that clients send: OpenAI's fields, OVMS's parameters, and our own."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from config.http_settings import ResponseFormat
from graphs.api_keys import Priority
from graphs.errors import InvalidRequest
from graphs.requests.request import FiniteFloat, GenerationParameters, Whole
from graphs.resolution import Resolution
from workers.jobs.job_options import Metadata, Webhook

# The other names of a parameter that clients may send -> the parameter.
_ALIASES = {
    "n": "num_images_per_prompt",
    "seed": "rng_seed",
    "steps": "num_inference_steps",
    "cfg": "guidance_scale",
    "cfg_scale": "guidance_scale",
}


def _text(value: Any) -> Any:
    """Return a whole number as text: some front ends number their users."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


class ImageBody(GenerationParameters):
    """Body of ``images/generations``: the parameters, which decide the image, and the fields of OpenAI's clients.

    A field below is another name of a parameter, or decides how to answer, or is accepted without effect so that
    stock clients work.
    """

    n: Whole | None = Field(None, description="OpenAI's name for num_images_per_prompt.")
    seed: Whole | None = Field(None, description="Another name for rng_seed.")
    steps: Whole | None = Field(None, description="Another name for num_inference_steps.")
    cfg: FiniteFloat | None = Field(None, description="Another name for guidance_scale.")
    cfg_scale: FiniteFloat | None = Field(None, description="Another name for guidance_scale.")
    size: str | None = Field(None, description="WxH in pixels, or auto.", examples=["512x512"])
    response_format: ResponseFormat | None = Field(
        None, description="b64_json unless given; url for an alias such as dall-e-3."
    )
    background: Literal["auto", "opaque", "transparent"] | None = Field(None, description="transparent is refused.")
    stream: bool | None = Field(None, description="Answer with server-sent events.")
    partial_images: Whole | None = Field(None, ge=0, le=3, description="Previews per image in a stream.")
    priority: Priority | None = Field(None, strict=False, description="high, normal or low; an API key may cap it.")
    metadata: Metadata | None = Field(None, description="Up to 16 pairs of text, kept with the job.")
    webhook: Webhook | None = Field(None, strict=False, description="Where to tell about the job.")
    user: Annotated[str, BeforeValidator(_text)] | None = Field(None, description="Accepted, without effect.")
    quality: str | None = Field(None, description="Accepted, without effect.")
    style: str | None = Field(None, description="Accepted, without effect.")
    moderation: str | None = Field(None, description="Accepted, without effect.")
    safety_identifier: str | None = Field(None, description="Accepted, without effect.")
    input_fidelity: str | None = Field(None, description="Accepted, without effect.")

    def parameters(self) -> GenerationParameters:
        """Return the parameters, each under its own name. Raises InvalidRequest."""
        self._check_background()
        values = self.model_dump(include=set(GenerationParameters.model_fields), exclude_none=True)
        for theirs, ours in _ALIASES.items():
            if (value := getattr(self, theirs)) is None:
                continue
            if ours in values:
                raise InvalidRequest(f"{theirs} and {ours} mean the same; give one of them.", param=theirs)
            values[ours] = value
        return GenerationParameters.model_validate({**values, **self._size(values)})

    def name_sent(self, param: str | None) -> str | None:
        """Return the name under which the client sent a parameter, such as ``size`` for ``width``."""
        if param in ("width", "height") and self.size not in (None, "auto"):
            return "size"
        sent = (theirs for theirs, ours in _ALIASES.items() if ours == param and getattr(self, theirs) is not None)
        return next(sent, param)

    def _check_background(self) -> None:
        if self.background == "transparent":
            raise InvalidRequest(
                "Images have no transparency here; leave background out or send auto.", param="background"
            )

    def _size(self, values: dict[str, Any]) -> dict[str, int]:
        if self.size is None or self.size.lower() == "auto":
            return {}
        if "width" in values or "height" in values:
            raise InvalidRequest("Give either size or width and height, not both.", param="size")
        try:
            size = Resolution.parse(self.size.lower())
        except ValueError as error:
            raise InvalidRequest(f"size: {error}", param="size", code="invalid_size") from error
        return {"width": size.width, "height": size.height}


class JobObjects(BaseModel):
    """The fields of a multipart form that are objects."""

    metadata: Metadata | None = None
    webhook: Webhook | None = None


class ImageReference(BaseModel):
    """An image in a JSON body."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    image_url: str | None = Field(None, description="The image as a data: URL, or as base64.")
    file_id: str | None = Field(None, description="Not supported: there is no file storage.")


def _reference(value: Any) -> Any:
    """Return an image that stands in the body as text in the form of OpenAI's object."""
    return {"image_url": value} if isinstance(value, str) else value


def _references(value: Any) -> Any:
    return [_reference(one) for one in value] if isinstance(value, list) else [_reference(value)]


References = Annotated[list[ImageReference], BeforeValidator(_references), Field(max_length=16)]


class EditBody(ImageBody):
    """Body of ``images/edits`` as JSON."""

    images: References | None = Field(None, description="The image to edit: exactly one.")
    image: References | None = Field(None, description="Another name for images.")
    mask: Annotated[ImageReference, BeforeValidator(_reference)] | None = Field(
        None, description="Where to repaint: transparent, or white without alpha."
    )

    def references(self) -> list[ImageReference]:
        """Return the images to edit. Raises InvalidRequest if there are none."""
        found = [*(self.images or ()), *(self.image or ())]
        if not found:
            raise InvalidRequest("images is required.", param="images", code="missing_required_parameter")
        return found

    def image_body(self) -> ImageBody:
        """Return the body without its images."""
        return ImageBody(**self.model_dump(exclude={"images", "image", "mask"}, exclude_none=True))


class AdapterBody(BaseModel):
    """Body of ``lora_adapters``: an adapter to add."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    alias: str = Field(description="The name that requests will send as model.", min_length=1, max_length=100)
    source: str = Field(description="URL, path or Hugging Face repository, as in --source_loras.", max_length=2048)
    alpha: FiniteFloat | None = Field(None, ge=-1000, le=1000, description="Strength unless a request says another.")
    model: str | None = Field(None, description="The graph it belongs to; needed where several are served.")
