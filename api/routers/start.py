"""``/``: where a person who opens the server's address in a browser is led."""

from fastapi import APIRouter
from fastapi.responses import RedirectResponse

router = APIRouter()


@router.get("/", include_in_schema=False)
async def start() -> RedirectResponse:
    """Lead to the documentation of the API. The address is relative, so that it holds behind the path of a proxy."""
    return RedirectResponse("docs")
