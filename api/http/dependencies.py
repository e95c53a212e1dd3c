"""What routes get handed."""

from typing import Annotated

from fastapi import Depends, Request

from api.answer.signed_urls import UrlSigner
from api.service import ImageService


def _service(request: Request) -> ImageService:
    service: ImageService = request.app.state.service
    return service


async def _signer(request: Request) -> UrlSigner:
    """The signing key lives in Redis, so that all API processes share it; it is fetched once."""
    state = request.app.state
    if state.signer is None:
        state.signer = UrlSigner(await state.service.store.signing_key(), state.service.settings.http.url_ttl_s)
    signer: UrlSigner = state.signer
    return signer


Service = Annotated[ImageService, Depends(_service)]
Signer = Annotated[UrlSigner, Depends(_signer)]
