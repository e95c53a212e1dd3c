"""``/v1/config``: the state of all models and their reload, as OpenVINO Model Server answers them.

Source of the form: docs/model_server_rest_api_tfs.md of OpenVINO Model Server, "Config Status API" and "Config Reload
API". A model of ours has one version, "1".
"""

from fastapi import APIRouter, Response
from pydantic import BaseModel

from api.http.dependencies import KeyOwner, Keys, Service
from api.http.errors import ReloadFailed, documented
from api.service import ImageService
from graphs.errors import AuthenticationFailed, ConfigurationError, NotAllowed, ServiceUnavailable

router = APIRouter(prefix="/v1/config", tags=["models"])

_SEE_LOG = "The log of the server says why."
_OK = "OK"
_FAILED = "FAILED_PRECONDITION"


class VersionError(BaseModel):
    """Whether a model is well: OK, or FAILED_PRECONDITION where it cannot be served."""

    error_code: str
    error_message: str


class VersionStatus(BaseModel):
    """The state of the only version of a model: AVAILABLE, or LOADING while no worker can draw with it."""

    version: str
    state: str
    status: VersionError


class ModelStatus(BaseModel):
    """The state of a model."""

    model_version_status: list[VersionStatus]


@router.get("", responses=documented(AuthenticationFailed, ServiceUnavailable))
async def config_status(owner: KeyOwner, service: Service) -> dict[str, ModelStatus]:
    """Return the state of every model. An administrator also reads why the files of one cannot be used."""
    return await _states(service, names_files=owner.is_administrator)


@router.post(
    "/reload",
    responses={
        201: {"description": "Something was loaded, changed or removed.", "model": dict[str, ModelStatus]},
        **documented(AuthenticationFailed, NotAllowed, ReloadFailed, ServiceUnavailable),
    },
)
async def config_reload(owner: KeyOwner, keys: Keys, service: Service, response: Response) -> dict[str, ModelStatus]:
    """Read config.json, graph.pbtxt and imagegen.toml again, and wait until workers have loaded what has changed.

    Answers 201 when something has changed, 200 when nothing has. What cannot be read or loaded changes nothing.
    Where there are API keys, this is for administrators; only they read why something failed.
    """
    if not keys.is_open and not owner.is_administrator:
        raise NotAllowed
    try:
        has_changed = await service.reload.reload()
    except ConfigurationError as error:
        why = error.message if owner.is_administrator else _SEE_LOG
        raise ReloadFailed(f"Reloading config file failed. {why}") from error
    if unused := await service.reload.why_unused():
        why = " ".join(unused.values()) if owner.is_administrator else _SEE_LOG
        raise ReloadFailed(f"Reloading models failed. {why}")
    response.status_code = 201 if has_changed else 200
    return await _states(service, names_files=owner.is_administrator)


async def _states(service: ImageService, *, names_files: bool) -> dict[str, ModelStatus]:
    found: dict[str, ModelStatus] = {}
    for name, model in (await service.reload.states()).items():
        code = _FAILED if model.failure and not model.is_available else _OK
        message = model.failure if model.failure and names_files else code
        state = "AVAILABLE" if model.is_available else "LOADING"
        status = VersionStatus(version="1", state=state, status=VersionError(error_code=code, error_message=message))
        found[name] = ModelStatus(model_version_status=[status])
    return found
