"""Asking a running API whether it can draw, without keeping the asker waiting."""

import threading

import httpx

_EVERY_S = 0.3
_PATIENCE_S = 10.0


class ReadinessProbe(threading.Thread):
    """Asks ``/v2/health/ready`` again and again; ``is_ready`` and ``reason`` are its last answer."""

    def __init__(self, base_url: str) -> None:
        super().__init__(name="readiness", daemon=True)
        self.is_ready = False
        self.reason = "the API does not answer yet"
        self._url = f"{base_url}/v2/health/ready"
        self._stopping = threading.Event()

    def run(self) -> None:
        """Ask until ready or stopped."""
        # trust_env: a proxy is not the way to one's own machine.
        with httpx.Client(timeout=_PATIENCE_S, trust_env=False) as client:
            while not self.is_ready and not self._stopping.wait(_EVERY_S):
                self._ask(client)

    def close(self) -> None:
        """End the thread; it is not waited for."""
        self._stopping.set()

    def _ask(self, client: httpx.Client) -> None:
        try:
            response = client.get(self._url)
        except httpx.HTTPError:
            return
        if response.status_code == httpx.codes.OK:
            self.is_ready = True
        else:
            self.reason = error_message(response)


def error_message(response: httpx.Response) -> str:
    """Return what an error response says, with the parameter it names."""
    try:
        error = response.json()["error"]
        message, param = str(error["message"]), error.get("param")
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"HTTP {response.status_code} {response.reason_phrase}"
    return f"{param}: {message}" if param and param not in message else message
