"""Makes docs/parameters.md from the code: the fields of a request, and those of other services."""

from collections.abc import Iterator

from api.request.foreign_parameters import IGNORED, REFUSED
from api.request.schemas import EditBody
from tools.tables import table

_PAGE = """\
# Request parameters

<!-- Written by `make reference` from api/request/ and graphs/requests/request.py; edit those, not this page. -->

The bodies of `images/generations`, `images/edits`, `images/variations` and `images/jobs` have the same fields, as JSON
and as forms. `images` and `mask` belong to edits. A number may be written as text (`"2"`) or as a fraction without a
remainder (`3.0`); `null` and the empty text mean that a field is not given. `/docs` on the running server sends
requests.
"""
_IGNORED = """\
## Left out with a warning

These fields of SDKs, gateways and front ends cannot change an image. They are left out; `warnings` of the answer and of
the job, the header `x-imagegen-warnings` and `imagegen_ignored_parameters_total` name them. The content of `extra_body`
counts as if it stood in the body itself. With `IMAGEGEN_HTTP__STRICT_PARAMETERS=true` they are refused. `*` stands for
any ending.
"""
_REFUSED = """\
## Refused with what to do

These would change the image elsewhere. A request with one of them gets status 400, so that no image is drawn that
ignores it. Any other name that is not on this page is refused as well, with the nearest name that is.
"""


def parameters_page() -> str:
    """Return docs/parameters.md."""
    return "\n".join(_lines())


def _lines() -> Iterator[str]:
    fields = [(f"`{name}`", field.description or "") for name, field in EditBody.model_fields.items()]
    yield _PAGE
    yield from table(("parameter", "what it does"), fields)
    yield _IGNORED
    yield from (", ".join(f"`{name}`" for name in sorted(IGNORED)) + ".", "")
    yield _REFUSED
    yield from table(("parameter", "what to do"), [(f"`{name}`", REFUSED[name]) for name in sorted(REFUSED)])
