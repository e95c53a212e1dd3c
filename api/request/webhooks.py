"""Whether a job's webhook can be had at all: said when it is submitted, not when nobody looks any more."""

from config.settings import WebhookSettings
from graphs.errors import InvalidRequest
from workers.jobs.job_options import Webhook
from workers.webhooks.url_check import UrlRefused, check_url


def check_webhook(webhook: Webhook | None, settings: WebhookSettings) -> None:
    """Raise InvalidRequest where this server sends no webhooks, or none to that address."""
    if webhook is None:
        return
    if not settings.secrets:
        raise InvalidRequest(
            "This server sends no webhooks: it has nothing to sign them with (IMAGEGEN_WEBHOOKS__SECRET).",
            param="webhook",
        )
    try:
        check_url(webhook.url, allow_private=settings.allow_private)
    except UrlRefused as error:
        raise InvalidRequest(str(error), param="webhook.url") from error
