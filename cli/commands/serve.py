"""``imagegen serve``: runs Redis, workers and the API on this machine."""

from cli.local.api_address import listen
from cli.local.data_folder import locked_data_folder, require_temporary_folder
from cli.local.source_adapters import serve_adapters
from cli.local.stop_signals import StopSignals
from cli.options import SourceLoras, repository_from, with_setting_options
from cli.standard_streams import prepare_outputs
from cli.terminal import say
from config.log_setup import configure_logging
from config.settings import Settings
from graphs.repository.adapter_folder import graph_of_folder


@with_setting_options
def serve(settings: Settings, source_loras: SourceLoras = None) -> None:
    """Run everything: Redis, a worker for each graph, and the API. Without a model, the bundled one is served."""
    prepare_outputs(may_be_lost=True)  # a service goes on without those who read what it prints
    require_temporary_folder()
    repository = repository_from(settings)
    listen(settings.http).close()
    with locked_data_folder(settings.data_dir) as lock:
        if source_loras is not None:  # before StopSignals, so that Ctrl-C ends a long download at once
            settings = serve_adapters(settings, repository, source_loras)
            repository = repository_from(settings)
        if settings.lora_folder is not None:
            graph_of_folder(settings.lora_folder, repository)
        with StopSignals() as signals:
            # Imported here: it imports clients for Redis and HTTP, which the commands that it starts do not need.
            from cli.local.local_service import LocalService

            configure_logging(settings.log, quiet=("httpx2", "httpcore2"))
            for name, sentence in repository.failed.items():
                say(f"{name} cannot be served; the others are: {sentence}", err=True)
            LocalService(settings, repository, lock, signals).run()
