"""The settings of the HTTP API, in four groups: the API, input images, its connections, and web pages."""

import re
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from config.settings_group import SettingsGroup

ResponseFormat = Literal["b64_json", "url"]
_URL = re.compile(r"https?://[^/?#@\s]+(/[^?#\s]*)?")


def _is_address(url: str) -> bool:
    try:
        return _URL.fullmatch(url) is not None and urlsplit(url).port != 0
    except ValueError:  # a port above 65535, or brackets around what is no IPv6 address
        return False


def _without_brackets(host: str) -> str:
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


# 20 fields, more than a class should have. A second group would rename environment variables that users have set, and
# one class built from several mixins would have as many.
class HttpSettings(SettingsGroup):
    """The HTTP API."""

    rest_bind_address: str = Field(
        "127.0.0.1",
        description="Address the HTTP API listens on; several are separated by commas, as `127.0.0.1,::1`. `0.0.0.0` "
        "is every address of IPv4, and `::` every one of IPv6 and IPv4.",
    )
    rest_port: int = Field(8000, ge=1, le=65535, description="Port of the HTTP API.")
    public_url: str | None = Field(
        None,
        description="URL under which clients reach the API, such as `https://example.com/images-api`; links in "
        "answers begin with it. If not set, they begin with the scheme and host of the request, and the path that a "
        "trusted proxy gives as `X-Forwarded-Prefix`.",
    )
    max_body_bytes: int = Field(64 * 2**20, gt=0, description="Largest request body; a larger one gets status 413.")
    body_timeout_s: float = Field(
        120.0,
        gt=0,
        description="How long receiving a whole request body may take; after that the client gets status 408.",
    )
    max_image_pixels: int = Field(
        52_000_000,
        gt=0,
        description="Largest input image, as width times height. The default takes photographs of 50 megapixels.",
    )
    url_ttl_s: int = Field(3600, gt=0, description="How long the URL of an image (`response_format=url`) is valid.")
    shutdown_timeout_s: int = Field(
        30, gt=0, description="How long an API that was asked to stop goes on answering requests that already wait."
    )
    restart_s: int = Field(
        5,
        ge=0,
        le=60,
        description="About how long it takes from the end of one API process until the next one listens; added to the "
        "Retry-After of a stopping API. Set 0 where other API processes answer meanwhile (behind a load balancer).",
    )
    reuse_port: bool = Field(
        False,
        description="Let several API processes listen on one port (SO_REUSEPORT): a new one can replace an old one.",
    )
    heartbeat_s: float = Field(
        15.0, gt=0, description="Pause between the comments that keep an idle event stream open."
    )
    cancel_on_disconnect: bool = Field(
        True,
        description="Whether a client that closes its connection cancels the job it waits for. Jobs submitted with "
        "`Prefer: respond-async` go on in any case.",
    )
    default_response_format: ResponseFormat | None = Field(
        None,
        description="`response_format` of requests that do not give it. If not set, it is that of imagegen.toml, or "
        "else `b64_json`; and `url`, as OpenAI's, for requests that name a `dall-e-*` model which is an alias here.",
    )
    default_size_fit: Literal["exact", "nearest"] | None = Field(
        None,
        description="`size_fit` of requests that do not give it. If not set, it is that of imagegen.toml, or else "
        "`exact`. `nearest` draws the nearest size for one that the model does not draw, and says so: language models "
        "ask for sizes such as 1536x1024.",
    )
    strict_parameters: bool = Field(
        False,
        description="Whether parameters of other services that cannot change an image, such as `service_tier`, are "
        "refused; otherwise they are left out, and the answer's `warnings` name them.",
    )
    node_timeout_s: float = Field(
        300.0,
        gt=0,
        description="After how many seconds clients on Node give up that state no time-out (openai-node): Node's fetch "
        "does after 300. One that leaves in the last sixth of this time keeps its job, since its request comes again.",
    )
    metrics_folder: Path | None = Field(
        None,
        description="A folder, emptied before the start, in which several API processes of one machine add up their "
        "metrics. Read from the environment only.",
    )
    ovms_metrics: bool = Field(
        False,
        description="Add the `ovms_*` series of OpenVINO Model Server to `/metrics`, for its dashboards.",
    )
    white_space_s: float | None = Field(
        None,
        ge=1,
        description="How often a client that waits is sent a space before the JSON of its answer, for proxies and "
        "clients that cut silent connections; if not set, only where a request asks for it (`Prefer: white-space=N`). "
        "The status is 200 then, and a later failure is the error object in that body.",
    )
    requests_per_minute: int | None = Field(
        None,
        ge=1,
        description="Image requests that an API key may send in a minute; if not set, there is no limit. A line of the "
        "key file may set another limit for its key. Without keys, all clients share the limit.",
    )
    api_key_file: Path | None = Field(
        None,
        description="File with one API key a line; the first key is an administrator's. Without it `API_KEY` is the "
        "only key, and without either the API is open to everyone.",
    )
    api_key: str | None = Field(None, repr=False, description="The only API key, where there is no key file.")

    @property
    def bind_addresses(self) -> tuple[str, ...]:
        """The addresses and names of ``rest_bind_address``, without brackets and each once."""
        return tuple(dict.fromkeys(_without_brackets(part.strip()) for part in self.rest_bind_address.split(",")))

    @field_validator("rest_bind_address")
    @classmethod
    def _check_addresses(cls, addresses: str) -> str:
        if not all(part.strip() for part in addresses.split(",")):
            raise ValueError("write an address, or several with a comma between each, as 127.0.0.1,::1")
        return addresses

    @field_validator("public_url")
    @classmethod
    def _check_public_url(cls, url: str | None) -> str | None:
        if url and not _is_address(url):
            raise ValueError("write it with http:// or https:// and without ? and #, as https://example.com/images-api")
        return url or None


class InputImageSettings(SettingsGroup):
    """Input images, beside `http.max_image_pixels`. They are judged by their headers, before they are decoded."""

    max_side_ratio: float = Field(
        32.0, ge=1, description="How many times longer than the other one a side of an input image may be."
    )
    max_decoding_bytes: int = Field(
        640 * 2**20,
        gt=0,
        description="Memory for all input images that an API process decodes at a time; more wait for their turn, and "
        "an image that takes more by itself gets status 413. docs/input-images.md says what a pixel takes in each "
        "format: 8 bytes as PNG and JPEG, 11 as HEIC, 16 as WebP.",
    )


class ConnectionSettings(SettingsGroup):
    """What connections may take before a request, and its key, are known."""

    max_open: int = Field(
        2048,
        ge=8,
        description="Open connections of an API process. At this number, the oldest one without a whole request, or "
        "else without a request, is closed for a new one. A lower limit of open files lowers it.",
    )
    max_open_per_address: int = Field(
        512,
        ge=1,
        description="Open connections of one address, or of one network (/64) of IPv6. This machine's own addresses "
        "and trusted proxies have no such limit.",
    )
    trusted_proxies: str = Field(
        "127.0.0.1,::1",
        description="Addresses and networks, separated by commas, whose `X-Forwarded-*` headers are believed; `*` for "
        "all (also `FORWARDED_ALLOW_IPS`).",
    )
    max_header_bytes: int = Field(
        64 * 1024, ge=1024, description="Largest request line with headers; a larger one gets status 431."
    )
    max_headers: int = Field(128, ge=16, description="Most headers of a request; more get status 431.")
    header_timeout_s: float = Field(
        10.0,
        gt=0,
        description="How long receiving the headers of a request may take; after that the client gets status 408.",
    )
    answer_timeout_s: float = Field(
        60.0, gt=0, description="How long a client may take no byte of its answer; then its connection is closed."
    )
    max_bodies_bytes: int = Field(
        256 * 2**20,
        gt=0,
        description="Size of all bodies that are being received or read; more get status 503. At least twice "
        "`http.max_body_bytes`.",
    )


class WebSettings(SettingsGroup):
    """Web pages that use the API. Other clients are not affected."""

    allowed_origins: str | None = Field(
        None,
        description="Origins whose pages may use the API (CORS), separated by commas, such as "
        "`https://app.example.com`; `*` for all. If not set, only pages of this server may.",
    )
    allowed_methods: str = Field("*", description="Methods that pages of these origins may use, separated by commas.")
    allowed_headers: str = Field("*", description="Headers that pages of these origins may send, separated by commas.")
    allow_credentials: bool = Field(
        False, description="Whether pages of these origins may send cookies and HTTP logins of a proxy."
    )
    allowed_hosts: str | None = Field(
        None,
        description="Host names, separated by commas, under which a server without keys may be reached, beside its "
        "addresses, local names and the host of `http.public_url`; `*.example.com` for all below a name, `*` for all.",
    )
