"""The form of a server's answers, as far as the command line reads them.

What answers at an address may be another server, or a hostile one. So each answer is compared with its form before
anything of it is used; what the form does not name is ignored, or only shown.
"""

import json
from collections.abc import Iterator
from typing import Any

import httpx2
from pydantic import BaseModel, ConfigDict, Field, ValidationError

# The year 5138: time.localtime takes it, and no job is made after it.
LATEST_S = 1e11
_DEEPEST = 50
# Images of the largest size, ten of them; a stream of events ends long before.
LONGEST_ANSWER_BYTES = 2**30


class AnswerForm(BaseModel):
    """A JSON object of an answer. Numbers must be numbers: nothing is converted, since the object itself is used."""

    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)


class ErrorForm(AnswerForm):
    """Why a job has no image."""

    message: str


class JobForm(AnswerForm):
    """A job."""

    id: str = Field(min_length=1)
    status: str
    error: ErrorForm | None = None
    step: int | None = None
    total_steps: int | None = None
    progress: float = Field(0, ge=0, le=100)


class ListedJobForm(JobForm):
    """A job as the list shows it."""

    progress: float = Field(ge=0, le=100)
    created_at: float = Field(ge=0, le=LATEST_S)
    model: str
    size: str
    prompt: str


class JobPageForm(AnswerForm):
    """A page of jobs."""

    data: list[ListedJobForm]
    has_more: bool
    last_id: str | None = None


class ImageForm(AnswerForm):
    """One image."""

    b64_json: str
    seed: int | None = None


class ImagesForm(AnswerForm):
    """Images."""

    data: list[ImageForm] = Field(min_length=1)
    seed: int | None = None


class LayersForm(AnswerForm):
    """How many layers of a component are applied."""

    matched: int
    total: int


class AdapterFileForm(AnswerForm):
    """What an adapter's file contains."""

    layers: dict[str, LayersForm]
    ranks: list[int] | None = Field(min_length=2, max_length=2)
    left_out: str | None


class ModelForm(AnswerForm):
    """A model."""

    id: str
    kind: str
    alias_of: str | None = None
    base: str
    adapters: dict[str, float]
    adapter_files: dict[str, AdapterFileForm]


class ModelsForm(AnswerForm):
    """All models."""

    data: list[ModelForm]


class LeftOutForm(AnswerForm):
    """A file that is not served."""

    file: str
    reason: str


class RefreshForm(AnswerForm):
    """What a look at the folder of adapters has changed."""

    served: int
    added: list[str]
    changed: list[str]
    removed: list[str]
    left_out: list[LeftOutForm]


class EventJobForm(AnswerForm):
    """The job of a final event."""

    error: ErrorForm | None = None


class EventForm(AnswerForm):
    """An event of a job."""

    type: str
    sequence_number: int
    step: int | None = None
    total_steps: int | None = None
    queue_position: int | None = None
    progress: float = Field(0, ge=0, le=100)
    job: EventJobForm | None = None


class OtherForm(Exception):
    """An answer has another form; the message says where."""


class _BoundedBody(httpx2.SyncByteStream):
    """The body of an answer, which ends with OtherForm where it is longer than any answer of this project's server."""

    def __init__(self, body: httpx2.SyncByteStream) -> None:
        self._body = body

    def __iter__(self) -> Iterator[bytes]:
        received = 0
        for part in self._body:
            received += len(part)
            if received > LONGEST_ANSWER_BYTES:
                raise OtherForm(f"its answer is longer than {LONGEST_ANSWER_BYTES} bytes")
            yield part

    def close(self) -> None:
        self._body.close()


def bound_answer(response: httpx2.Response) -> None:
    """Bound what will be read of an answer, as a hook of the client. Raises OtherForm for a compressed answer."""
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise OtherForm("its answer is compressed, which it was not asked for")
    if isinstance(response.stream, httpx2.SyncByteStream):
        response.stream = _BoundedBody(response.stream)


def read_answer(response: httpx2.Response, form: type[AnswerForm]) -> dict[str, Any]:
    """Return the JSON object of an answer. Raises OtherForm where it is none, or of another form."""
    return parsed_object(response.content, form)


def parsed_object(text: bytes | str, form: type[AnswerForm]) -> dict[str, Any]:
    """Return the JSON object of a text. Raises OtherForm where it is none, or of another form."""
    try:
        value: object = json.loads(text)
    except RecursionError as error:
        raise OtherForm("its answer is nested too deeply") from error
    except ValueError as error:
        raise OtherForm("its answer is not JSON") from error
    if _is_deeper(value, _DEEPEST):
        raise OtherForm("its answer is nested too deeply")
    try:
        form.model_validate(value)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, problem["loc"])) or "its answer"
        raise OtherForm(f"{where[:100]}: {problem['msg'].lower()}") from error
    assert isinstance(value, dict)  # noqa: S101 - or it were no object of the form
    return value


def _is_deeper(value: object, levels: int) -> bool:
    """Return whether a JSON value is nested more deeply; what prints it calls itself for each level."""
    level = [value]
    for _ in range(levels):
        dicts = [child for found in level if isinstance(found, dict) for child in found.values()]
        level = dicts + [child for found in level if isinstance(found, list) for child in found]
        if not level:
            return False
    return True
