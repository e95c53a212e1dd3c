"""Runs stock clients against this service, each in its own environment: `make test-clients` (one: ARGS="curl").

Prints what each has done, and writes the rows of those that succeeded into docs/clients.md.
"""

import argparse
import sys
import tempfile
from datetime import date
from pathlib import Path

from tests.clients.clients import CLIENTS, EVERY_CLIENT, Client
from tests.clients.page import PAGE, row, with_rows
from tests.clients.running import ClientFailed, run_client, run_node_timeout
from tests.support.service import Service, serving

_NODE = "openai-node"


def main() -> None:
    """Run the clients that are named, else all but Open WebUI; end with 1 if one of them failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.clients", description=__doc__)
    parser.add_argument("clients", nargs="*", metavar="CLIENT", help=", ".join(client.name for client in EVERY_CLIENT))
    names = parser.parse_args().clients
    known = [client.name for client in EVERY_CLIENT]
    if unknown := [name for name in names if name not in known]:
        parser.error(f"there is no client {unknown[0]!r}; there are: {', '.join(known)}")
    chosen = [client for client in EVERY_CLIENT if client.name in names] if names else list(CLIENTS)
    with tempfile.TemporaryDirectory(prefix="imagegen-clients-") as name:
        failed = _run(chosen, Path(name))
    print(f"{len(chosen) - len(failed)} passed, {len(failed)} failed")
    if failed:
        sys.exit(1)


def _run(chosen: list[Client], folder: Path) -> list[str]:
    """Run clients one after the other against one service; return the names of those that failed."""
    rows: dict[str, str] = {}
    with serving(folder / "service") as service:
        for client in chosen:
            if (version := _tried(client, service, folder / client.name.replace(" ", "-"))) is not None:
                rows[client.name] = row(client, version, date.today().isoformat())
    if any(client.name == _NODE for client in chosen) and not _outlasts_node(folder):
        rows.pop(_NODE, None)
    PAGE.write_text(with_rows(PAGE.read_text(), rows))
    return [client.name for client in chosen if client.name not in rows]


def _tried(client: Client, service: Service, folder: Path) -> str | None:
    print(f"{client.name} ...", flush=True)
    try:
        version = run_client(client, service, folder)
    except (ClientFailed, AssertionError) as error:
        print(f"    FAILED: {error}", flush=True)
        return None
    print(f"    passed with {version}", flush=True)
    return version


def _outlasts_node(folder: Path) -> bool:
    """Show in small what happens at Node's 300 s: its time-out is 3 s here.

    The service counts 2 s for it: it takes the last sixth for a time-out, which is 50 s of 300, but of 3 s less than a
    busy machine's delay.
    """
    (client,) = (client for client in CLIENTS if client.name == _NODE)
    print(f"{_NODE}, a request that takes longer than Node waits ...", flush=True)
    with serving(folder / "impatient", environment={"IMAGEGEN_HTTP__NODE_TIMEOUT_S": "2"}) as service:
        try:
            seen = run_node_timeout(client, service, folder / "node-timeout")
        except ClientFailed as error:
            print(f"    FAILED: {error}", flush=True)
            return False
    print(f"    passed: {seen}", flush=True)
    return True


if __name__ == "__main__":
    main()
