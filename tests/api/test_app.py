"""The routes of the application."""

from typing import Any

from fastapi.routing import APIRoute

from tests.api.api_support import Api


def test_v1_and_v3_are_the_same(api: Api) -> None:
    paths = api.app.openapi()["paths"]
    routes: dict[str, dict[str, Any]] = {prefix: {} for prefix in ("/v1", "/v3")}
    for path, operations in paths.items():
        if path[:3] in routes:
            routes[path[:3]][path[3:]] = {method: found["summary"] for method, found in operations.items()}
    own = {path: methods for path, methods in routes["/v1"].items() if not path.startswith("/config")}
    assert own == routes["/v3"], "only Model Server's routes of its configuration are at /v1 alone"
    assert {"/images/generations", "/images/edits", "/models", "/models/{name}"} <= set(routes["/v1"])
    assert all(path[:3] in ("/v1", "/v2", "/v3") for path in paths if path != "/metrics")
    assert not [route for route in api.app.routes if isinstance(route, APIRoute) and route.path.startswith("/v3/v")]
