"""``imagegen serve``: everything on one machine, from nothing to a picture."""

import typer

from cli.commands.api import listen
from cli.local.data_folder import locked_data_folder
from cli.local.source_adapters import SourceLorasOption, serve_adapters
from cli.local.stop_signals import StopSignals
from cli.options import (
    ApiKeyFile,
    CacheDir,
    ConfigPath,
    DataDir,
    LogFormat,
    LogLevel,
    ModelName,
    ModelPath,
    ModelRepositoryPath,
    RedisUrl,
    RestBindAddress,
    RestPort,
    TargetDevice,
    repository_from,
    settings_from,
)
from config.log_setup import configure_logging


def serve(
    ctx: typer.Context,
    rest_port: RestPort = None,
    rest_bind_address: RestBindAddress = None,
    api_key_file: ApiKeyFile = None,
    model_repository_path: ModelRepositoryPath = None,
    config_path: ConfigPath = None,
    model_path: ModelPath = None,
    model_name: ModelName = None,
    source_loras: SourceLorasOption = None,
    target_device: TargetDevice = None,
    cache_dir: CacheDir = None,
    data_dir: DataDir = None,
    redis_url: RedisUrl = None,
    log_level: LogLevel = None,
    log_format: LogFormat = None,
) -> None:
    """Run everything: Redis, a worker for each graph, and the API. Without a model, the bundled one is served."""
    settings = settings_from(ctx.params)
    repository = repository_from(settings)
    listen(settings.http).close()
    with locked_data_folder(settings.data_dir) as lock:
        if source_loras is not None:  # while Ctrl-C still ends at once, as a download may take long
            settings = serve_adapters(settings, repository, source_loras)
            repository_from(settings)
        with StopSignals() as signals:
            # Imported here: it brings clients for Redis and HTTP, which the processes it starts would load in vain.
            from cli.local.local_service import Service

            configure_logging(settings.log, quiet=("httpx", "httpcore"))
            Service(settings, sorted(repository.graphs), lock, signals).run()
