"""The application of an API process: the same routers at /v3 and /v1, middleware, and what they share."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from api.drain import ApiDrain
from api.http.access_log import PREFIXES, AccessLogMiddleware
from api.http.answer_headers import PagePolicyMiddleware
from api.http.connections import Connections
from api.http.errors import install_error_handlers
from api.http.loop_lag import watch_lag
from api.http.metrics import HttpMetrics
from api.http.middleware import DrainMiddleware, RequestIdMiddleware, UnexpectedErrorMiddleware
from api.http.openapi import describe
from api.http.wrong_keys import WrongKeys
from api.middleware.body_limits import BodyLimitMiddleware
from api.middleware.client_paths import ClientPathsMiddleware
from api.middleware.compressed_bodies import CompressedBodiesMiddleware
from api.middleware.web_origins import WebMiddleware, add_cors
from api.routers import (
    adapters,
    config_status,
    docs,
    files,
    health,
    images,
    jobs,
    kserve,
    me,
    metrics,
    models,
    queues,
    start,
)
from api.service import ImageService
from config.settings import Settings
from graphs.api_keys import ApiKeySource
from workers.jobs.broker import WakeMessages, make_celery

_DESCRIPTION = "OpenAI-compatible image generation on OpenVINO GenAI, behind a durable job queue."


def create_app(settings: Settings) -> FastAPI:
    """Return the application. Raises ConfigurationError when nothing can be served with these settings."""
    drain = ApiDrain(settings.http)
    service = ImageService(settings, drain, WakeMessages(make_celery(settings)).message)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await service.start()
        watching = [
            asyncio.create_task(app.state.connections.watch(), name="connections"),
            asyncio.create_task(watch_lag(app.state.http_metrics.loop_lag.observe), name="loop lag"),
        ]
        yield
        for task in watching:
            task.cancel()
        await service.stop()

    # FastAPI's own pages load their scripts from a CDN, to which many of these servers have no access.
    app = FastAPI(title="imagegen-server", description=_DESCRIPTION, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.settings = settings
    app.state.service = service
    app.state.drain = drain
    app.state.started_at = int(time.time())
    app.state.http_metrics = HttpMetrics(settings.http.metrics_folder)
    app.state.keys = ApiKeySource(settings.http.api_key_file, settings.http.api_key)
    refused = app.state.http_metrics.connections_refused
    app.state.connections = Connections(settings.connections, lambda why: refused.labels(why).inc())
    wrong = app.state.http_metrics.wrong_keys
    app.state.wrong_keys = WrongKeys(app.state.connections.max_open // 8, lambda how: wrong.labels(how).inc())
    for prefix in PREFIXES:
        for part in (images, queues, jobs, files, models, adapters, me):
            app.include_router(part.router, prefix=prefix)
    app.include_router(start.router)
    app.include_router(docs.router)
    docs.mount_swagger_ui(app)
    app.include_router(health.router)
    app.include_router(metrics.router)
    app.include_router(kserve.router)
    app.include_router(config_status.router)
    describe(app)
    install_error_handlers(app)
    # The last one added is the first to get a request.
    app.add_middleware(BodyLimitMiddleware, http=settings.http, connections=settings.connections)
    app.add_middleware(CompressedBodiesMiddleware, max_bytes=settings.http.max_body_bytes)
    app.add_middleware(PagePolicyMiddleware)
    app.add_middleware(WebMiddleware, settings=settings, is_open=app.state.keys.current().is_open)
    app.add_middleware(UnexpectedErrorMiddleware)
    app.add_middleware(AccessLogMiddleware, metrics=app.state.http_metrics)
    add_cors(app, settings)
    app.add_middleware(RequestIdMiddleware)
    app.add_middleware(DrainMiddleware, drain=drain)
    app.add_middleware(ClientPathsMiddleware)
    return app
