"""``/docs``: Swagger UI over the API's own description, with scripts of this package and not of a CDN.

Its three files are those of npm's swagger-ui-dist, unchanged; `tests/api/routers/test_docs.py` holds their hashes.
"""

from pathlib import Path

from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles

FILES = Path(__file__).parents[1] / "swagger_ui"
_FILES_PATH = "/swagger-ui"

router = APIRouter()


def mount_swagger_ui(app: FastAPI) -> None:
    """Let the application serve the files of Swagger UI."""
    app.mount(_FILES_PATH, StaticFiles(directory=FILES), name="swagger-ui")


@router.get("/docs", include_in_schema=False)
async def docs(request: Request) -> HTMLResponse:
    """Return the page. Its addresses have the path of a proxy in front of them."""
    root = request.scope.get("root_path", "")
    files = f"{root}{_FILES_PATH}"
    return get_swagger_ui_html(
        openapi_url=f"{root}/openapi.json",
        title="imagegen-server",
        swagger_js_url=f"{files}/swagger-ui-bundle.js",
        swagger_css_url=f"{files}/swagger-ui.css",
        swagger_favicon_url=f"{files}/favicon-32x32.png",
    )
