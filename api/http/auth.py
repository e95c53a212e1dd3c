"""Who asks: the API key of a request, as OpenAI's and Azure's clients send it."""

from typing import Annotated

from fastapi import Depends, Request

from api.http.dependencies import Service
from graphs.api_keys import ANYONE, KeyRing, Owner
from graphs.errors import AuthenticationFailed, NotAllowed


def _owner(request: Request) -> Owner:
    keys: KeyRing = request.app.state.keys
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


def _administrator(request: Request, owner: Annotated[Owner, Depends(_owner)]) -> Owner:
    keys: KeyRing = request.app.state.keys
    if keys.is_open:
        raise NotAllowed("This route is for administrators: start the server with --api_key_file to have any.")
    if not owner.is_administrator:
        raise NotAllowed("This route is for administrators; this key is not one.")
    return owner


async def _asking(owner: Annotated[Owner, Depends(_owner)], service: Service) -> Owner:
    """Before the body is read: a request too many costs no more than this."""
    if rate := owner.requests_per_minute or service.settings.http.requests_per_minute:
        await service.rates.count(owner.id, rate)
    return owner


KeyOwner = Annotated[Owner, Depends(_owner)]
# Whoever asks for pictures, within the rate of the key.
AskingOwner = Annotated[Owner, Depends(_asking)]
Administrator = Annotated[Owner, Depends(_administrator)]
