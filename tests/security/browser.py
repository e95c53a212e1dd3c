"""A real Chromium without a window, and the pages that it opens. It has no network but this machine."""

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service as ChromeDriver

_SWITCHES = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # No name but this machine's is looked up, and the one that stands for an attacker's leads here (DNS rebinding).
    "--host-resolver-rules=MAP rebound.example.com 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
)
_CALL = """
const done = arguments[arguments.length - 1];
const [url, options] = arguments;
fetch(url, options).then(async (answer) => done({
  status: answer.status, type: answer.type, text: await answer.text(), headers: Object.fromEntries(answer.headers),
})).catch((error) => done({failed: String(error)}));
"""


def is_installed() -> bool:
    """Return whether this machine has Chromium and its driver (Debian: chromium, chromium-driver)."""
    return bool(shutil.which("chromium") and shutil.which("chromedriver"))


class Browser:
    """A browser with one page."""

    def __init__(self, driver: Chrome) -> None:
        self.driver = driver

    def open(self, url: str) -> None:
        self.driver.get(url)

    def fetch(self, url: str, **options: Any) -> dict[str, Any]:
        """Call fetch() in the page: ``status``, ``type``, ``text`` and ``headers`` of the answer, or ``failed``."""
        found: dict[str, Any] = self.driver.execute_async_script(_CALL, url, options)
        return found

    def messages(self) -> list[str]:
        """Return what the page has logged since the last call."""
        entries: list[dict[str, Any]] = self.driver.get_log("browser")  # type: ignore[no-untyped-call]
        return [str(entry["message"]) for entry in entries]


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """Run Chromium with an empty profile in ``folder``."""
    options = ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for switch in (*_SWITCHES, f"--user-data-dir={folder}"):
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = Chrome(options, ChromeDriver(shutil.which("chromedriver")))
    try:
        yield Browser(driver)
    finally:
        driver.quit()


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>a page</title><p>a page")

    def log_message(self, format: str, *arguments: Any) -> None:
        """Log nothing."""


@contextmanager
def page() -> Iterator[str]:
    """Serve an empty page on a port of its own, and yield its origin."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
