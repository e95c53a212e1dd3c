"""Starts an MCP server as a configuration file says, and calls its tools over its standard input and output.

One JSON-RPC message a line: https://modelcontextprotocol.io/specification/2025-06-18/basic/transports#stdio
"""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

_PROTOCOL = "2025-06-18"


class McpServer:
    """A running MCP server, as a context; its log goes to ``server.log``."""

    def __init__(self, configuration: str) -> None:
        (server,) = json.loads(Path(configuration).read_text())["mcpServers"].values()
        command = [str(Path(sys.executable).with_name(server["command"])), *server.get("args", [])]
        environment = {**os.environ, **server["env"]}
        with Path("server.log").open("wb") as log:
            pipe = subprocess.PIPE
            self._process = subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, stderr=log, text=True)
        self._numbers = itertools.count(1)

    def __enter__(self) -> "McpServer":
        about = {"name": "imagegen-tests", "version": "1"}
        self._ask("initialize", {"protocolVersion": _PROTOCOL, "capabilities": {}, "clientInfo": about})
        self._send({"method": "notifications/initialized"})
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self._process.terminate()
        self._process.wait(30)

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Return the result of a tool: ``content`` and perhaps ``isError`` and ``structuredContent``."""
        return self._ask("tools/call", {"name": tool, "arguments": arguments})

    def begin(self, tool: str, **arguments: Any) -> int:
        """Call a tool and do not wait for its result; return the number of the request."""
        number = next(self._numbers)
        self._send({"id": number, "method": "tools/call", "params": {"name": tool, "arguments": arguments}})
        return number

    def cancel(self, number: int) -> None:
        """Tell the server that the result of a request is not wanted any more."""
        self._send({"method": "notifications/cancelled", "params": {"requestId": number, "reason": "stopped"}})

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        self._process.stdin.flush()

    def _ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        number = next(self._numbers)
        self._send({"id": number, "method": method, "params": params})
        assert self._process.stdout is not None
        for line in self._process.stdout:
            answer = json.loads(line)
            if answer.get("id") == number and "method" not in answer:
                assert "error" not in answer, answer["error"]
                result: dict[str, Any] = answer["result"]
                return result
        raise AssertionError("the MCP server ended; its server.log says why")
