"""``/v2`` and ``/v2/models``: what KServe's clients and OpenVINO Model Server's ask to know a server and its models.

The form is that of KServe's V2 protocol (https://kserve.github.io/website). A graph has no tensors to
send: images are asked for at ``/v3/images``.
"""

from fastapi import APIRouter
from pydantic import BaseModel, Field

from api.http.dependencies import KeyOwner, Models, Service
from api.http.errors import documented
from api.http.openapi import OPEN
from api.live_models import LiveModels
from config import VERSION
from graphs.errors import AuthenticationFailed, ModelNotFound, ServiceUnavailable

_SERVER = "imagegen-server"
_PLATFORM = "OpenVINO"

router = APIRouter(prefix="/v2", tags=["health"])


class ServerMetadata(BaseModel):
    """What a server says of itself."""

    name: str
    version: str
    extensions: list[str] = Field(description="Parts of KServe's protocol beyond its core: none.")


class ModelMetadata(BaseModel):
    """What a server says of a model. Inputs and outputs are tensors in this protocol, of which a graph has none."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[str]
    outputs: list[str]


class ModelReady(BaseModel):
    """Whether a model can draw now."""

    name: str
    ready: bool


@router.get("", openapi_extra=OPEN)
async def server_metadata() -> ServerMetadata:
    """Say what this server is."""
    return ServerMetadata(name=_SERVER, version=VERSION, extensions=[])


@router.get("/models/{name:path}/ready", responses=documented(AuthenticationFailed, ModelNotFound, ServiceUnavailable))
async def model_ready(name: str, _: KeyOwner, models: Models, service: Service) -> ModelReady:
    """Answer 200 when a worker has loaded the model, else 503."""
    await service.check_model_ready(await _graph(name, models))
    return ModelReady(name=name, ready=True)


@router.get("/models/{name:path}", responses=documented(AuthenticationFailed, ModelNotFound, ServiceUnavailable))
async def model_metadata(name: str, _: KeyOwner, models: Models) -> ModelMetadata:
    """Describe a model in KServe's words; `/v3/models/{name}` says more."""
    await _graph(name, models)
    return ModelMetadata(name=name, versions=["1"], platform=_PLATFORM, inputs=[], outputs=[])


async def _graph(name: str, models: LiveModels) -> str:
    """Return the name of the graph of a model's name. Raises ModelNotFound, also for an empty name."""
    return (await models.repository()).route(name or "/").graph.name
