"""The names of adapters' files: at the end of a URL, and within a repository."""

from urllib.parse import unquote, urlsplit

SUFFIX = ".safetensors"


def url_file_name(url: str) -> str:
    """Return the name of the file that a URL leads to, percent-encoding undone."""
    return unquote(urlsplit(url).path.rpartition("/")[2])


def is_plain_path(file: str) -> bool:
    """Tell whether a file's path is relative and stays below the folder that it is put into."""
    return not set(file) & set("\\:\0") and all(part not in ("", ".", "..") for part in file.split("/"))


def url_problem(url: str) -> str | None:
    """Return why an adapter cannot be downloaded from a URL, as a sentence; None where nothing speaks against it."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        return f"this is not a URL: {error}."
    if not host or port == 0:
        return "the URL names no server."
    if parts.username is not None or parts.password is not None:
        return "a URL cannot carry a user name or password here; download the file and give its path."
    if parts.query or parts.fragment or "?" in url:
        return f"the URL must end in {SUFFIX}; leave out what begins with '?' or '#'."
    name = url_file_name(url)
    if name.lower() == SUFFIX or not is_plain_path(name) or "/" in name:
        return "the URL names no file."
    return None
