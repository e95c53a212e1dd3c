"""The errors that this project raises on purpose.

    ImagegenError
    |-- ConfigurationError          the operator's configuration cannot be used
    |   |-- GraphError              a graph.pbtxt cannot be used (file, line, field, reason)
    |   |-- RepositoryError         a models directory or config.json cannot be used
    |   `-- AdapterMisfit           a LoRA adapter does not fit its model
    |       `-- NotSafetensors      a LoRA adapter's file is not a safetensors file
    |-- InvalidRequest              the request cannot be carried out (names the parameter)
    |   |-- InvalidImage            an input image cannot be read
    |   |-- RequestTooLarge         a body or an input image exceeds its limit
    |   |-- RequestTooSlow          the body did not arrive in time
    |   |-- MediaTypeNotAccepted    a web page sent another content type than JSON
    |   |-- OperationNotAvailable   the model has no pipeline for the operation
    |   |-- ModelNotFound           no graph, adapter or composite has this name
    |   |-- JobNotCompleted         the job has no images yet, or never will
    |   |-- JobNotWaiting           the job has begun or ended, so that its place in the queue cannot change
    |   `-- IdempotencyConflict     the same key or id was sent with another request
    |-- AuthenticationFailed        the API key is missing or unknown
    |-- NotAllowed                  the API key lacks the right
    |-- JobNotFound                 no job has this id
    |-- ArtifactExpired             the image was kept as long as promised and is deleted
    |-- QueueFull                   too many jobs are queued
    |-- RateLimited                 this API key has sent too many requests
    |-- ServiceUnavailable          Redis or a worker cannot be reached
    |   |-- AdaptersChanged         the added adapters changed while the request was read
    |   |-- StoreFull               Redis has no memory left
    |   `-- ShuttingDown            the server is ending
    |-- JobFailed                   an accepted job ended without an image
    `-- EngineError                 the runtime could not load the model or generate

A class's docstring is its default message and ``code`` its machine-readable name. Nothing here depends on HTTP:
``api/http/errors.py`` maps errors to statuses.

Other exceptions are no part of this family, since packages that must not import graphs raise them (``SettingsError``
in config, ``PrivateAddress`` and ``UrlRefused`` for webhook URLs), or since they never leave the code that raises them
(``UserError`` ends a command of the CLI, ``GenerationCancelled`` a generation).
"""

from pathlib import Path


class ImagegenError(Exception):
    """Something went wrong inside the server."""

    code = "internal_error"
    retry_after_s: int | None = None

    def __init__(
        self,
        message: str | None = None,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        """Without a message, the first line of the class's docstring is the message.

        ``param`` is the parameter at fault; ``code`` is machine-readable; ``retry_after_s`` is the number of seconds
        after which a client should try again. The class has defaults for the last two.
        """
        self.message = message or (type(self).__doc__ or "").splitlines()[0]
        self.param = param
        self.code = code or type(self).code
        self.retry_after_s = type(self).retry_after_s if retry_after_s is None else retry_after_s
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
        self.reason = reason
        self.path = path
        self.line = line
        self.field = field
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


class MediaTypeNotAccepted(InvalidRequest):
    """Web pages must send this body with Content-Type: application/json."""

    code = "unsupported_media_type"


class OperationNotAvailable(InvalidRequest):
    """This operation is not available for this model."""

    code = "operation_not_available"


class ModelNotFound(InvalidRequest):
    """The model does not exist."""

    code = "model_not_found"


class JobNotCompleted(InvalidRequest):
    """The job has no images."""

    code = "job_not_completed"


class JobNotWaiting(InvalidRequest):
    """The job does not wait."""

    code = "job_not_waiting"


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


class RateLimited(ImagegenError):
    """This API key has sent too many requests."""

    code = "rate_limit_exceeded"


class ServiceUnavailable(ImagegenError):
    """The service is not able to take this request now."""

    code = "service_unavailable"
    retry_after_s = 2

    def __init__(
        self,
        message: str | None = None,
        *,
        reason: str = "",
        code: str | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        """``reason`` is for the operator only, as it may name addresses: logs and commands show it, answers do not."""
        super().__init__(message, code=code, retry_after_s=retry_after_s)
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.message} {self.reason}" if self.reason else self.message


class AdaptersChanged(ServiceUnavailable):
    """The adapters changed again and again while this request was read; send it again."""


class StoreFull(ServiceUnavailable):
    """The job store (Redis) is full: its maxmemory is reached; room comes as jobs end and expire."""

    code = "store_full"
    retry_after_s = 30


class ShuttingDown(ServiceUnavailable):
    """The server is shutting down."""

    code = "shutting_down"


class JobFailed(ImagegenError):
    """The job ended without an image."""

    code = "generation_failed"


class EngineError(ImagegenError):
    """The runtime could not load the model or generate the image."""

    code = "generation_failed"
