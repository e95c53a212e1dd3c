"""What ``imagegen serve`` prints once it is ready."""

import ipaddress
import json
from collections.abc import Sequence

from config.settings import HttpSettings

_SAVE = (
    "import base64,json,sys; "
    "open('picture.png','wb').write(base64.b64decode(json.load(sys.stdin)['data'][0]['b64_json']))"
)


def base_url(http: HttpSettings) -> str:
    """Return the URL under which this machine reaches the API, without a slash at its end."""
    host = http.rest_bind_address
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return f"http://{host}:{http.rest_port}"
    if address.is_unspecified:
        host = "::1" if address.version == 6 else "127.0.0.1"
    return f"http://{f'[{host}]' if address.version == 6 else host}:{http.rest_port}"


def announcement(http: HttpSettings, graphs: Sequence[str]) -> str:
    """Return the lines to print: address, models, a command that draws a picture, documentation, how to stop."""
    url = base_url(http)
    return "\n".join(
        (
            "",
            f"imagegen is ready: {url}/v3 (the base URL for OpenAI clients)",
            f"models: {', '.join(graphs)}",
            "draw a picture into picture.png:",
            "",
            f"  {curl_line(url, graphs)}",
            "",
            f"docs: {url}/docs",
            "Ctrl-C stops",
        )
    )


def curl_line(url: str, graphs: Sequence[str]) -> str:
    """Return a shell command that saves a picture; the model is named only where there is a choice."""
    request = {"prompt": "a red circle on a blue background"}
    if len(graphs) > 1:
        request["model"] = graphs[0]
    body = json.dumps(request).replace("'", "\\u0027")
    return (
        f"curl -s {url}/v3/images/generations -H 'Content-Type: application/json' -d '{body}' | python3 -c \"{_SAVE}\""
    )
