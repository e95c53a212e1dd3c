"""Recognizes the URLs of files on Hugging Face: of their pages, and of their downloads."""

import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from graphs.adapters.addresses import HUB_HOSTS, is_plain_path

# https://huggingface.co/ORG/REPO/resolve/REVISION/FILE is the download of a file, with blob its page. A slash in the
# name of a revision is encoded (refs%2Fpr%2F1).
_FILE = re.compile(r"/(?P<repository>[^/]+/[^/]+)/(?:blob|resolve|raw)/(?P<revision>[^/]+)/(?P<name>.+)")


@dataclass(frozen=True)
class HubFile:
    """A file of a repository at a revision: a branch, a tag or a commit."""

    repository: str
    revision: str
    name: str


def file_of_page(url: str, endpoint: str) -> HubFile | None:
    """Return the file that a URL of Hugging Face names, None for any other URL.

    ``endpoint`` is the URL of the configured mirror, whose files are found as well.
    """
    parts = urlsplit(url)
    path = parts.path
    if parts.hostname not in HUB_HOSTS or parts.port is not None:
        mirror = urlsplit(endpoint.rstrip("/"))
        if (parts.scheme, parts.netloc) != (mirror.scheme, mirror.netloc) or not path.startswith(f"{mirror.path}/"):
            return None
        path = path.removeprefix(mirror.path)
    found = _FILE.fullmatch(path)
    if found is None:
        return None
    file = HubFile(*map(unquote, found.groups()))
    return file if all(map(is_plain_path, (file.repository, file.revision, file.name))) else None
