"""How huggingface_hub is used here: its HTTP client, the address of the Hub, and the token."""

import httpx2
from huggingface_hub import constants, get_token, set_client_factory

from config.settings import DownloadSettings
from workers.net.proxies import EnvironmentTransport

# Else it asks Hugging Face once a day for a list of programs that may have started it, and tells of them and of torch.
constants.HF_HUB_DISABLE_TELEMETRY = True
# huggingface_hub's own client, but for the choice of a proxy.
set_client_factory(lambda: httpx2.Client(transport=EnvironmentTransport(), follow_redirects=True, timeout=None))


def endpoint_of(settings: DownloadSettings) -> str:
    """Return the address of Hugging Face, or of a mirror, without a slash at its end."""
    return settings.hf_endpoint.rstrip("/")


def token_headers(settings: DownloadSettings) -> dict[str, str]:
    """Return the header with the token of the settings, else with the one that `hf auth login` stored, if any."""
    token = settings.hf_token or get_token()
    return {"Authorization": f"Bearer {token}"} if token else {}
