"""The wire: what OpenAI's and OVMS's clients send, and what they get back."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from graphs.api_keys import Priority
from graphs.errors import InvalidRequest
from graphs.requests.request import GenerationParameters
from graphs.resolution import Resolution
from workers.jobs.job_options import Metadata, Webhook

# Other names that clients use for a parameter: theirs -> ours.
_ALIASES = {"n": "num_images_per_prompt", "seed": "rng_seed"}


class ImageBody(GenerationParameters):
    """Body of ``images/generations``: everything that can change a picture, and what OpenAI's clients add.

    The fields below either rename a parameter, say how to answer, or cannot change the picture and are accepted
    so that stock clients work.
    """

    n: int | None = Field(None, description="OpenAI's name for num_images_per_prompt.")
    seed: int | None = Field(None, description="Another name for rng_seed.")
    size: str | None = Field(None, description="WxH in pixels, or auto.", examples=["512x512"])
    response_format: Literal["b64_json", "url"] | None = Field(None, description="b64_json unless given.")
    background: Literal["auto", "opaque", "transparent"] | None = Field(None, description="transparent is refused.")
    stream: bool | None = Field(None, description="Answer with server-sent events.")
    partial_images: int | None = Field(None, ge=0, le=3, description="Previews per picture in a stream.")
    priority: Priority | None = Field(None, strict=False, description="high, normal or low; an API key may cap it.")
    metadata: Metadata | None = Field(None, description="Up to 16 pairs of text, kept with the job.")
    webhook: Webhook | None = Field(None, strict=False, description="Where to tell about the job.")
    user: str | None = Field(None, description="Accepted, without effect.")
    quality: str | None = Field(None, description="Accepted, without effect.")
    style: str | None = Field(None, description="Accepted, without effect.")
    moderation: str | None = Field(None, description="Accepted, without effect.")
    safety_identifier: str | None = Field(None, description="Accepted, without effect.")
    input_fidelity: str | None = Field(None, description="Accepted, without effect.")

    def parameters(self) -> GenerationParameters:
        """Return what can change the picture, under one name each. Raises InvalidRequest."""
        self._refuse_what_would_be_lost()
        values = self.model_dump(include=set(GenerationParameters.model_fields), exclude_none=True)
        for theirs, ours in _ALIASES.items():
            if (value := getattr(self, theirs)) is None:
                continue
            if ours in values:
                raise InvalidRequest(f"{theirs} and {ours} mean the same; give one of them.", param=theirs)
            values[ours] = value
        return GenerationParameters.model_validate({**values, **self._size(values)})

    @contextmanager
    def naming_parameters_as_sent(self) -> Iterator[None]:
        """Make an InvalidRequest name the parameter that the client wrote, where it used another name than ours."""
        sent = {ours: theirs for theirs, ours in _ALIASES.items() if getattr(self, theirs) is not None}
        if self.size not in (None, "auto"):
            sent |= {"width": "size", "height": "size"}
        try:
            yield
        except InvalidRequest as error:
            error.param = sent.get(error.param or "", error.param)
            raise

    def _refuse_what_would_be_lost(self) -> None:
        if self.background == "transparent":
            raise InvalidRequest(
                "Pictures have no transparency here; leave background out or send auto.", param="background"
            )

    def _size(self, values: dict[str, Any]) -> dict[str, int]:
        if self.size in (None, "auto"):
            return {}
        if "width" in values or "height" in values:
            raise InvalidRequest("Give either size or width and height, not both.", param="size")
        try:
            size = Resolution.parse(self.size or "")
        except ValueError as error:
            raise InvalidRequest(f"size: {error}", param="size", code="invalid_size") from error
        return {"width": size.width, "height": size.height}


class JobObjects(BaseModel):
    """What a form holds that is more than text."""

    metadata: Metadata | None = None
    webhook: Webhook | None = None


class ImageReference(BaseModel):
    """A picture in a JSON body."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    image_url: str | None = Field(None, description="The picture as a data: URL.")
    file_id: str | None = Field(None, description="Not supported: there is no file storage.")


class EditBody(ImageBody):
    """Body of ``images/edits`` as JSON."""

    images: list[ImageReference] = Field(description="The picture to edit: exactly one.", min_length=1, max_length=16)
    mask: ImageReference | None = Field(None, description="Where to repaint: transparent, or white without alpha.")

    def image_body(self) -> ImageBody:
        """Return the body without its pictures."""
        return ImageBody(**self.model_dump(exclude={"images", "mask"}, exclude_none=True))


class ImageData(BaseModel):
    """One picture: its bytes in base64, or where to fetch them."""

    b64_json: str | None = None
    url: str | None = None


class InputTokenDetails(BaseModel):
    """Always zero: nothing here is billed by tokens."""

    text_tokens: int = 0
    image_tokens: int = 0


class Usage(BaseModel):
    """Always zero: nothing here is billed by tokens."""

    total_tokens: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    input_tokens_details: InputTokenDetails = InputTokenDetails()


class ImagesResponse(BaseModel):
    """OpenAI's answer, with the seed beside it."""

    created: int
    data: list[ImageData]
    background: Literal["opaque"] = "opaque"
    output_format: str
    size: str
    seed: int
    usage: Usage = Usage()


class ErrorDetail(BaseModel):
    """What was wrong: all four keys always, ``param`` and ``code`` null where there is none."""

    message: str
    type: Literal["invalid_request_error", "rate_limit_error", "server_error"]
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """OpenAI's error object."""

    error: ErrorDetail


class JobUrls(BaseModel):
    """Where to go on from a job."""

    self: str
    result: str
    content: list[str]
    events: str
    cancel: str


class JobErrorBody(BaseModel):
    """Why a job failed."""

    code: str
    message: str


class JobBody(BaseModel):
    """A job: every key always, null where unknown. Times are unix seconds."""

    id: str
    object: Literal["image.job"] = "image.job"
    operation: str
    model: str
    status: str
    progress: int
    step: int | None
    total_steps: int | None
    queue_position: int | None
    eta_seconds: float | None
    created_at: int
    started_at: int | None
    completed_at: int | None
    expires_at: int | None
    prompt: str
    size: str
    n: int
    seed: int
    attempts: int
    error: JobErrorBody | None
    usage: Usage | None
    metadata: dict[str, str] | None
    urls: JobUrls


class JobPage(BaseModel):
    """A cursor page of jobs, as openai-python's own pager walks it."""

    object: Literal["list"] = "list"
    data: list[JobBody]
    first_id: str | None
    last_id: str | None
    has_more: bool


class JobDeleted(BaseModel):
    """A job was erased."""

    id: str
    object: Literal["image.job.deleted"] = "image.job.deleted"
    deleted: Literal[True] = True


class ModelBody(BaseModel):
    """A name that requests can be routed to."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "imagegen-server"
    kind: Literal["base", "adapter", "composite"]
    base: str
    adapters: dict[str, float]


class ModelList(BaseModel):
    """All names that requests can be routed to."""

    object: Literal["list"] = "list"
    data: list[ModelBody]

    @classmethod
    def of(cls, models: list[ModelBody]) -> Self:
        """Return the list object."""
        return cls(data=models)
