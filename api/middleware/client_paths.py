"""The paths and the method HEAD as clients send them, before any other part of the application sees a request.

Some clients add a prefix of their own to the address that they were given, or a slash at the end. A proxy may have
taken away a path below which it serves this API.
"""

import re

from starlette.types import ASGIApp, Receive, Scope, Send

from api.http.proxies import forwarded_prefix

# Lemonade's and Open WebUI's prefix, an address that ends in /v3 in a client that adds /v1, and that of Azure.
_PREFIX = re.compile(r"/(?:api|v3|openai)(?=/v[13](?:/|$))")
# Azure names the model in the path. https://learn.microsoft.com/azure/ai-services/openai/reference
_DEPLOYMENT = re.compile(r"/openai/deployments/(?P<model>.+?)(?=/images/)")
# Azure's SDK for Node names it in the body of a form, and leaves the deployment out of the path then.
_AZURE = re.compile(r"/openai(?=/(?:models|images)(?:/|$))")
_API = re.compile(r"/v[13](?:/|$)")
_PREFIX_OF_AZURE = "/v1"
# What is worth a HEAD: models, health, images. A stream of events has no end to wait for.
_WITH_HEAD = re.compile(
    r"/v[13]/(?:models(?:/.*)?|images/files/.*|images/jobs/[^/]+(?:/content)?)|/v2/health/.*|/metrics"
)


class ClientPathsMiddleware:
    """Serves the spellings of a path as the route that they mean, and HEAD as GET. Plain ASGI."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http":
            # A copy: uvicorn leaves out the body of an answer to HEAD by the scope that it has itself.
            scope = {**scope, **_own_path(scope["path"])}
            if scope["method"] == "HEAD" and _WITH_HEAD.fullmatch(scope["path"]):
                scope["method"] = "GET"
            if prefix := forwarded_prefix(scope):  # ASGI has it in the path as well, and the proxy took it away
                scope |= {"root_path": prefix, "path": prefix + scope["path"]}
        await self._app(scope, receive, send)


def _own_path(path: str) -> dict[str, str]:
    """Return the path of the route, and the model that the client's path names, if any, as ``deployment``."""
    path = re.sub("/{2,}", "/", path)
    azure = _DEPLOYMENT.match(path)
    if azure is not None:
        return {"path": _without_slash(_PREFIX_OF_AZURE + path[azure.end() :]), "deployment": azure["model"]}
    if (start := _AZURE.match(path)) is not None:
        return {"path": _without_slash(_PREFIX_OF_AZURE + path[start.end() :])}
    if (prefix := _PREFIX.match(path)) is not None:
        path = path[prefix.end() :]
    return {"path": _without_slash(path)} if _API.match(path) else {"path": path}


def _without_slash(path: str) -> str:
    return path.rstrip("/") or "/"
