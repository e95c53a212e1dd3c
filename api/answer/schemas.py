"""The bodies of answers, as OpenAI's clients read them."""

from typing import Any, Literal

from pydantic import BaseModel, Field

from graphs.requests.request import Seeds
from workers.jobs.observe.queue_view import WaitingFor


class ImageData(BaseModel):
    """One image: its bytes in base64, or the URL that serves them; with the seed that draws it alone, if one does."""

    b64_json: str | None = None
    url: str | None = None
    seed: int | None = None


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
    """OpenAI's answer with images, and the seed beside them."""

    created: int
    data: list[ImageData]
    background: Literal["opaque"] = "opaque"
    output_format: str
    size: str
    seed: int
    usage: Usage = Usage()
    warnings: list[str] | None = Field(None, description="What was drawn otherwise than the request may expect.")


class ErrorDetail(BaseModel):
    """What was wrong. All four keys are always there; ``param`` and ``code`` may be null."""

    message: str
    type: Literal["invalid_request_error", "rate_limit_error", "server_error"]
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """OpenAI's error object."""

    error: ErrorDetail


class JobUrls(BaseModel):
    """The URLs of a job's routes."""

    self: str
    result: str
    content: list[str]
    events: str
    cancel: str


class JobFile(BaseModel):
    """An image of a completed job, at an address that needs no key until ``expires_at`` (unix seconds)."""

    url: str
    expires_at: int
    media_type: str
    size_bytes: int | None = Field(description="Null for a job that a release up to 0.1.0 drew.")
    width: int
    height: int


class JobErrorBody(BaseModel):
    """Why a job failed."""

    code: str
    message: str


class JobQueue(BaseModel):
    """The queue of a job's model: how many jobs wait in it, and how many may."""

    depth: int
    limit: int


JobStage = Literal["waiting", "preparing", "drawing", "finishing"]


class JobBody(BaseModel):
    """A job. Every key is always there, with null for an unknown value. Times are unix seconds."""

    id: str
    object: Literal["image.job"] = "image.job"
    operation: str
    model: str
    adapters: dict[str, float] = Field(description="The adapters that it is drawn with, and their strengths.")
    status: str
    progress: int
    step: int | None
    total_steps: int | None
    queue_position: int | None
    queue: JobQueue | None = Field(description="The queue that it waits or runs in; null once it has ended.")
    waiting_for: WaitingFor | None = Field(
        description="What a queued job waits for: the jobs before it, a worker, or the end of a pause; null otherwise."
    )
    stage: JobStage | None = Field(description="Where it is on its way; null once it has ended.")
    eta_seconds: float | None
    created_at: int
    started_at: int | None
    completed_at: int | None
    expires_at: int | None
    created_at_ms: int
    started_at_ms: int | None
    completed_at_ms: int | None
    timings: dict[str, float] | None = Field(
        description="Seconds by stage, from the queue to the encoding; null until it is completed."
    )
    parameters: dict[str, Any] = Field(description="All that decides the image, with every value filled in.")
    prompt: str
    size: str
    n: int
    guidance_scale: float
    seed: int
    seeds: Seeds | None
    attempts: int
    error: JobErrorBody | None
    usage: Usage | None
    metadata: dict[str, str] | None
    warnings: list[str]
    files: list[JobFile] | None = Field(
        description="The images, at addresses that need no key; empty until it is completed, null in a list of jobs."
    )
    urls: JobUrls


class JobPage(BaseModel):
    """A page of jobs with a cursor, in the form that openai-python's pager reads."""

    object: Literal["list"] = "list"
    data: list[JobBody]
    first_id: str | None
    last_id: str | None
    has_more: bool


class JobsCancelled(BaseModel):
    """The answer to a cancellation of many jobs; ``has_more``: ask again for the rest."""

    object: Literal["image.jobs.cancelled"] = "image.jobs.cancelled"
    cancelled: int
    has_more: bool


class JobDeleted(BaseModel):
    """The answer to the deletion of a job."""

    id: str
    object: Literal["image.job.deleted"] = "image.job.deleted"
    deleted: Literal[True] = True


class CoverageBody(BaseModel):
    """How many of the layers in an adapter's file the model has and the runtime can change."""

    matched: int
    total: int


class AdapterFileBody(BaseModel):
    """How much of an adapter's file is applied: layers by component, the lowest and the highest rank."""

    layers: dict[str, CoverageBody]
    ranks: tuple[int, int] | None
    left_out: str | None = Field(description="The first layer that is left out, and why.")


class ModelBody(BaseModel):
    """A model: a name that requests can be routed to."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "imagegen-server"
    kind: Literal["base", "adapter", "composite"]
    alias_of: str | None = Field(None, description="The model that this other name means; null for a model's own name.")
    base: str
    adapters: dict[str, float]
    adapter_files: dict[str, AdapterFileBody] = Field(description="What the files of the adapters contain, by alias.")
    digest: str | None = Field(
        default=None,
        description="The digest of the base's graph.pbtxt, imagegen.toml and files; null where they are not here.",
    )
    other_digests: list[str] | None = Field(
        default=None,
        description="Digests of other models that workers have under this name: they draw none of its jobs.",
        exclude_if=lambda value: value is None,
    )


class ModelList(BaseModel):
    """All models."""

    object: Literal["list"] = "list"
    data: list[ModelBody]
    failed: dict[str, str] | None = Field(
        default=None,
        description="For administrators: why a model that is configured is not served, by its name.",
        exclude_if=lambda value: value is None,
    )


class AdapterRemoved(BaseModel):
    """The answer to the removal of an adapter."""

    id: str
    object: str = "model.deleted"
    deleted: bool = True


class AdapterLeftOut(BaseModel):
    """A file of the folder of adapters that is not served, and the reason."""

    file: str
    reason: str


class AdaptersRefreshed(BaseModel):
    """The answer to a look at the folder of adapters: the aliases that changed, and the files that are left out."""

    object: str = "lora_adapters.refreshed"
    served: int
    added: list[str]
    changed: list[str]
    removed: list[str]
    left_out: list[AdapterLeftOut]
