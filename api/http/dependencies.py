"""FastAPI dependencies of the routes. They are coroutines, since FastAPI runs a plain function in a thread."""

from typing import Annotated

from fastapi import Depends, Request

from api.answer.responses import Links
from api.answer.signed_urls import UrlSigner
from api.drain import ApiDrain
from api.live_models import LiveModels
from api.service import ImageService
from config.http_settings import HttpSettings
from graphs.api_keys import ANYONE, ApiKeys, Owner
from graphs.errors import AuthenticationFailed, NotAllowed
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


async def _owner(request: Request) -> Owner:
    """Return the owner of the API key, which OpenAI's and Azure's clients send in different headers."""
    keys: ApiKeys = request.app.state.keys
    if keys.is_open:
        return ANYONE
    scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
    key = bearer.strip() if scheme.lower() == "bearer" else request.headers.get("api-key", "")
    if not key:
        raise AuthenticationFailed
    owner = keys.owner_of(key)
    if owner is None:
        raise AuthenticationFailed("This API key is not known here.")
    return owner


KeyOwner = Annotated[Owner, Depends(_owner)]


async def _administrator(request: Request, owner: KeyOwner) -> Owner:
    keys: ApiKeys = request.app.state.keys
    if keys.is_open:
        raise NotAllowed("This route is for administrators: start the server with --api_key_file to have any.")
    if not owner.is_administrator:
        raise NotAllowed("This route is for administrators; this key is not one.")
    return owner


async def _counted_owner(owner: KeyOwner, service: Service) -> Owner:
    """Count the request before its body is read, so that one over the rate of its key costs no more than this."""
    await service.count_request(owner)
    return owner


async def _path_job(job_id: str, owner: KeyOwner, service: Service) -> Job:
    return await service.job(job_id, owner.id)


async def _links(request: Request) -> Links:
    http: HttpSettings = request.app.state.settings.http
    return Links(http.public_url or str(request.base_url), request.url.path)


async def _signer(request: Request, service: Service) -> UrlSigner:
    """Return the signer with the key that all API processes share. The key is in Redis, and is read once."""
    state = request.app.state
    if state.signer is None:
        state.signer = UrlSigner(await service.signing_key(), state.settings.http.url_ttl_s)
    signer: UrlSigner = state.signer
    return signer


Drain = Annotated[ApiDrain, Depends(_drain)]
Models = Annotated[LiveModels, Depends(_models)]
# The owner of a request for images, which counts against the rate of the key.
CountedOwner = Annotated[Owner, Depends(_counted_owner)]
Administrator = Annotated[Owner, Depends(_administrator)]
# The job of a path with ``{job_id}``, if it belongs to the owner of the key.
PathJob = Annotated[Job, Depends(_path_job)]
AnswerLinks = Annotated[Links, Depends(_links)]
Signer = Annotated[UrlSigner, Depends(_signer)]
