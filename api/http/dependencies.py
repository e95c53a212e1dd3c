"""FastAPI dependencies of the routes. They are coroutines, since FastAPI runs a plain function in a thread."""

from typing import Annotated

from fastapi import Depends, Request

from api.answer.responses import Links
from api.drain import ApiDrain
from api.http.proxies import path_here
from api.http.wrong_keys import WrongKeys
from api.live_models import LiveModels
from api.service import ImageService
from config.http_settings import HttpSettings
from graphs.api_keys import ANYONE, ApiKeys, ApiKeySource, Owner
from graphs.errors import AuthenticationFailed, InvalidRequest, NotAllowed
from workers.jobs.job import Job


async def _service(request: Request) -> ImageService:
    service: ImageService = request.app.state.service
    return service


Service = Annotated[ImageService, Depends(_service)]


async def _drain(request: Request) -> ApiDrain:
    drain: ApiDrain = request.app.state.drain
    return drain


async def _models(service: Service) -> LiveModels:
    return service.models


def current_keys(request: Request) -> ApiKeys:
    """Return the API keys, as their file has them now."""
    key_source: ApiKeySource = request.app.state.keys
    return key_source.current()


async def _owner(request: Request) -> Owner:
    """Return the owner of the API key, which OpenAI's and Azure's clients send in different headers."""
    keys = current_keys(request)
    if keys.is_open:
        return ANYONE
    scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
    key = bearer.strip() if scheme.lower() == "bearer" else request.headers.get("api-key", "")
    if not key:
        raise AuthenticationFailed
    owner = keys.owner_of(key)
    if owner is None:
        wrong_keys: WrongKeys = request.app.state.wrong_keys
        await wrong_keys.slow_down(request.client.host if request.client else "")
        raise AuthenticationFailed("This API key is not known here.")
    return owner


KeyOwner = Annotated[Owner, Depends(_owner)]


async def _administrator(request: Request, owner: KeyOwner) -> Owner:
    _check_administrator(current_keys(request), owner, "This route")
    return owner


def _check_administrator(keys: ApiKeys, owner: Owner, what: str) -> None:
    if keys.is_open:
        raise NotAllowed(f"{what} is for administrators: start the server with --api_key_file to have any.")
    if not owner.is_administrator:
        raise NotAllowed(f"{what} is for administrators; this key is not one.")


def named_owner(request: Request, owner: Owner, name: str) -> Owner:
    """Return the owner with this label or id. Raises NotAllowed unless an administrator asks, and InvalidRequest."""
    keys = current_keys(request)
    found = keys.labelled(name)
    if found == owner:
        return owner
    _check_administrator(keys, owner, "Naming another owner")
    if found is None:
        raise InvalidRequest(f"No key has the label or id {name[:100]!r}.", param="owner")
    return found


async def _keys(request: Request) -> ApiKeys:
    return current_keys(request)


async def _counted_owner(owner: KeyOwner, service: Service) -> Owner:
    """Count the request before its body is read, so that one over the rate of its key costs no more than this."""
    await service.count_request(owner)
    return owner


async def _path_job(job_id: str, owner: KeyOwner, service: Service) -> Job:
    return await service.find(job_id, owner.id)


async def _links(request: Request) -> Links:
    http: HttpSettings = request.app.state.settings.http
    return Links(http.public_url or str(request.base_url), path_here(request.scope))


Drain = Annotated[ApiDrain, Depends(_drain)]
Keys = Annotated[ApiKeys, Depends(_keys)]
Models = Annotated[LiveModels, Depends(_models)]
# The owner of a request for images, which counts against the rate of the key.
CountedOwner = Annotated[Owner, Depends(_counted_owner)]
Administrator = Annotated[Owner, Depends(_administrator)]
# The job of a path with ``{job_id}``, if it belongs to the owner of the key.
PathJob = Annotated[Job, Depends(_path_job)]
AnswerLinks = Annotated[Links, Depends(_links)]
