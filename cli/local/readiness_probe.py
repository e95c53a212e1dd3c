"""Asks a starting API whether it is ready, in a thread of its own."""

import threading

import httpx2

from cli.client.http_client import error_message

_EVERY_S = 0.3
_TIMEOUT_S = 10.0


class ReadinessProbe(threading.Thread):
    """Asks ``/v2/health/ready`` until the API is ready; ``is_ready`` and ``reason`` hold the last answer."""

    def __init__(self, base_url: str) -> None:
        super().__init__(name="readiness", daemon=True)
        self.is_ready = False
        self.reason = "the API does not answer yet"
        self._url = f"{base_url}/v2/health/ready"
        self._stopping = threading.Event()

    def run(self) -> None:
        """Ask until the API is ready or ``close`` is called."""
        # trust_env: a request to this machine must not go through a proxy.
        with httpx2.Client(timeout=_TIMEOUT_S, trust_env=False) as client:
            while not self.is_ready and not self._stopping.wait(_EVERY_S):
                self._ask(client)

    def close(self) -> None:
        """Make the thread end, without waiting for it."""
        self._stopping.set()

    def _ask(self, client: httpx2.Client) -> None:
        try:
            response = client.get(self._url)
        except httpx2.HTTPError:
            return
        if response.status_code == httpx2.codes.OK:
            self.is_ready = True
        else:
            self.reason = error_message(response)
