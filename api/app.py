"""The HTTP process: routers at /v3 and /v1, the same ones."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from api.drain import Leaving
from api.http.access_log import PREFIXES, AccessLog, HttpMetrics
from api.http.errors import install_error_handlers
from api.http.middleware import BodyLimit, LastResort, RequestId
from api.http.openapi import describe
from api.routers import adapters, health, images, jobs, metrics, models
from api.service import ImageService
from config.environment import prometheus_folder
from config.settings import Settings
from graphs.api_keys import read_keys
from workers.jobs.broker import make_celery, wake_worker

_DESCRIPTION = "OpenAI-compatible image generation on OpenVINO GenAI, behind a durable job queue."


def create_app(settings: Settings) -> FastAPI:
    """Return the application. Raises ConfigurationError when nothing can be served with these settings."""
    service = ImageService(settings, partial(wake_worker, make_celery(settings)))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await service.start()
        yield
        await service.stop()

    # /docs with its own scripts: many of these servers stand where no CDN is reached.
    app: FastAPI = FastAPIOffline(title="imagegen-server", description=_DESCRIPTION, lifespan=lifespan)
    app.state.service, app.state.signer, app.state.started_at = service, None, int(time.time())
    app.state.http_metrics = HttpMetrics(prometheus_folder())
    app.state.keys = read_keys(settings.http.api_key_file, settings.http.api_key)
    for prefix in PREFIXES:
        for part in (images.router, jobs.router, models.router, adapters.router):
            app.include_router(part, prefix=prefix)
    app.include_router(health.router)
    app.include_router(metrics.router)
    describe(app)
    install_error_handlers(app)
    app.add_middleware(BodyLimit, max_bytes=settings.http.max_body_bytes, timeout_s=settings.http.body_timeout_s)
    app.add_middleware(LastResort)
    app.add_middleware(AccessLog, metrics=app.state.http_metrics)
    app.add_middleware(RequestId)
    app.add_middleware(Leaving, drain=service.drain)
    return app
