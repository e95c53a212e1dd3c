"""The error family: every error this project raises on purpose.

    ImagegenError
    |-- ConfigurationError        what an operator wrote cannot be used
    |   |-- GraphError            a graph.pbtxt (file, line, field, reason)
    |   |-- RepositoryError       a models directory or config.json
    |   `-- AdapterMisfit         a LoRA file that does not fit its model
    |       `-- NotSafetensors    a file that is no safetensors file
    |-- InvalidRequest            what a client sent cannot be done (names the parameter)
    |   |-- InvalidImage          an input image cannot be read
    |   |-- RequestTooLarge       a body or picture over its limit
    |   |-- RequestTooSlow        a body that did not come in time
    |   |-- OperationNotAvailable the model has no pipeline for the operation
    |   |-- ModelNotFound         no graph, adapter or composite has that name
    |   |-- JobNotCompleted       its pictures are not there yet, or never will be
    |   `-- IdempotencyConflict   the same key or id came with another request
    |-- AuthenticationFailed      no key, or one that is not known
    |-- NotAllowed                this key may not do that
    |-- JobNotFound               no job has that id
    |-- ArtifactExpired           the picture was kept as long as promised, and is gone
    |-- QueueFull                 too many jobs wait
    |-- RateLimited               too many requests of one API key
    |-- ServiceUnavailable        Redis or a worker cannot be reached
    |   `-- StoreFull             Redis has no room
    |-- JobFailed                 an accepted job ended without a picture
    `-- EngineError               the runtime could not load or generate

A class's docstring is its default message and ``code`` its machine-readable name. Nothing here knows
of HTTP: ``api/http/errors.py`` is the only place where an error becomes a status.
"""

from pathlib import Path


class ImagegenError(Exception):
    """Something went wrong inside the server."""

    code = "internal_error"

    def __init__(self, message: str | None = None, *, param: str | None = None, code: str | None = None) -> None:
        self.message = message or (type(self).__doc__ or "").splitlines()[0]
        self.param = param
        self.code = code or type(self).code
        super().__init__(self.message)


class ConfigurationError(ImagegenError):
    """The configuration cannot be used."""

    code = "configuration_error"


class GraphError(ConfigurationError):
    """The graph definition cannot be used."""

    code = "invalid_graph"

    def __init__(
        self, reason: str, *, path: Path | None = None, line: int | None = None, field: str | None = None
    ) -> None:
        self.reason, self.path, self.line, self.field = reason, path, line, field
        where = f"{path}:{line}: " if path and line else f"{path}: " if path else ""
        super().__init__(f"{where}{field + ': ' if field else ''}{reason}", param=field)


class RepositoryError(ConfigurationError):
    """The model repository cannot be used."""

    code = "invalid_repository"


class AdapterMisfit(ConfigurationError):
    """The adapter does not fit the model."""

    code = "adapter_does_not_fit"


class NotSafetensors(AdapterMisfit):
    """The file is not a safetensors file."""


class InvalidRequest(ImagegenError):
    """The request cannot be carried out."""

    code = "invalid_value"


class InvalidImage(InvalidRequest):
    """The image cannot be read."""

    code = "invalid_image"


class RequestTooLarge(InvalidRequest):
    """The request is larger than this server accepts."""

    code = "request_too_large"


class RequestTooSlow(InvalidRequest):
    """The request did not come in the time this server waits for one."""

    code = "request_timeout"


class OperationNotAvailable(InvalidRequest):
    """This operation is not available for this model."""

    code = "operation_not_available"


class ModelNotFound(InvalidRequest):
    """The model does not exist."""

    code = "model_not_found"


class JobNotCompleted(InvalidRequest):
    """The job has no pictures."""

    code = "job_not_completed"


class IdempotencyConflict(InvalidRequest):
    """The same idempotency key came with another request."""

    code = "idempotency_key_reused"


class AuthenticationFailed(ImagegenError):
    """Give an API key as Authorization: Bearer KEY."""

    code = "invalid_api_key"


class NotAllowed(ImagegenError):
    """This API key may not do that."""

    code = "not_allowed"


class JobNotFound(ImagegenError):
    """The job does not exist."""

    code = "job_not_found"


class ArtifactExpired(ImagegenError):
    """The image has expired."""

    code = "artifact_expired"


class QueueFull(ImagegenError):
    """The queue is full."""

    code = "queue_full"

    def __init__(self, message: str | None = None, *, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class RateLimited(ImagegenError):
    """This API key has sent too many requests."""

    code = "rate_limit_exceeded"

    def __init__(self, message: str | None = None, *, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class ServiceUnavailable(ImagegenError):
    """The service is not able to take this request now."""

    code = "service_unavailable"
    retry_after_s = 2


class StoreFull(ServiceUnavailable):
    """The job store (Redis) is full: its maxmemory is reached; room comes as kept pictures expire."""

    code = "store_full"
    retry_after_s = 30


class ShuttingDown(ServiceUnavailable):
    """The server is shutting down."""

    code = "shutting_down"

    def __init__(self, message: str | None = None, *, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class JobFailed(ImagegenError):
    """The job ended without a picture."""

    code = "generation_failed"


class EngineError(ImagegenError):
    """The runtime could not load the model or generate the picture."""

    code = "generation_failed"
