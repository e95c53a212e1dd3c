"""The header ``traceparent``, with which programs say which trace a request belongs to.

W3C Trace Context (https://www.w3.org/TR/trace-context/, 3.2): version, trace id, parent id and flags. A version
above 00 may have more fields; version ff, and ids of zeros only, are invalid.
"""

import re

_HEADER = re.compile(
    r"(?P<version>(?!ff)[0-9a-f]{2})-(?P<trace_id>(?!0{32})[0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
    r"(?P<more>-[!-~]{0,200})?",
    re.ASCII,
)


def trace_id(traceparent: str | None) -> str | None:
    """Return the trace id, 32 hexadecimal digits; None for a header that is absent or invalid."""
    found = _HEADER.fullmatch(traceparent or "")
    if found is None or (found["more"] is not None and found["version"] == "00"):
        return None
    return found["trace_id"]
