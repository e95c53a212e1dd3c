"""Reads the name that a server gives a file: the header Content-Disposition (RFC 6266, with RFC 5987's encoding)."""

from email.message import Message
from email.utils import collapse_rfc2231_value

_LONGEST_BYTES = 200  # file systems allow 255, and a partial file's name is longer than the file's


def given_name(header: str) -> str | None:
    """Return the file's name without any folder, None if the header gives none that can be used here."""
    message = Message()
    message["Content-Disposition"] = header.replace("\r", " ").replace("\n", " ")
    values = [value for name, value in message.get_params([], "content-disposition") if name.lower() == "filename"]
    # The form with an encoding (filename*) is a tuple here, and wins over the plain one.
    encoded = [value for value in values if isinstance(value, tuple)]
    for value in (*encoded, *values):
        name = collapse_rfc2231_value(value).replace("\\", "/").rpartition("/")[2].strip()
        if name.isprintable() and not name.startswith(".") and 0 < len(name.encode()) <= _LONGEST_BYTES:
            return name
    return None
