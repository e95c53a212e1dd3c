"""The addresses of adapters, as people paste them: what they name, and which cannot be downloaded.

An address ends in the name of a .safetensors file, or it is one of these, which name no file:

- ``/api/download/models/VERSION``: a download of Civitai's API. The name comes with the answer (Content-Disposition).
- ``/models/MODEL?modelVersionId=VERSION``: the page of a model on Civitai; it stands for that download.
- ``https://huggingface.co/ORG/REPO``: the page of a repository; it stands for ``ORG/REPO``.
"""

import re
from urllib.parse import parse_qsl, quote, unquote, urlsplit

SUFFIX = ".safetensors"
HUB_HOSTS = ("huggingface.co", "www.huggingface.co", "hf.co")

_VERSION = re.compile(r"/api/download/models/([0-9]{1,20})/?", re.ASCII)
_MODEL_PAGE = re.compile(r"/models/[0-9]{1,20}(/[^/]*)?/?", re.ASCII)
_VERSION_FIELD = "modelVersionId"
_REPOSITORY_PAGE = re.compile(r"/([^/]+/[^/]+?)(/tree/main)?/?")
_DRIVE = re.compile(r"/[A-Za-z]:[\\/]")
_TOKEN_FIELDS = ("token", "access_token", "api_key", "apikey")
# A user name with its password, and query fields that grant access. They are left out of what errors repeat.
_USER = re.compile(r"(?<=://)[^/?#\s]*@")
_SECRET = re.compile(r"(?<=[?&])((?:[\w.-]*(?:token|key|secret|password|sig|signature|credential))=)[^&\s']*", re.I)
_ADVICE = {
    "s3": "give the object's https:// address (a presigned one works), or download it and give its path",
    "gs": "give the object's https:// address (https://storage.googleapis.com/...), or download it and give its path",
    "ftp": "give an https:// address, or download the file and give its path",
    "hf": "write org/repo@file.safetensors",
}


def names_file(url: str) -> bool:
    """Return whether the path of a URL ends in the name of a .safetensors file."""
    return urlsplit(url).path.lower().endswith(SUFFIX)


def url_file_name(url: str) -> str:
    """Return the name of the file of a URL, with percent-encoding decoded."""
    return unquote(urlsplit(url).path.rpartition("/")[2])


def version_of(url: str) -> str | None:
    """Return the version that a download of Civitai's API names, None for other URLs."""
    found = _VERSION.fullmatch(urlsplit(url).path)
    return found[1] if found else None


def download_address(url: str) -> str:
    """Return the URL of the download where a URL is the page of a model's version on Civitai, else the URL itself."""
    parts = urlsplit(url)
    if not _MODEL_PAGE.fullmatch(parts.path):
        return url
    return f"{parts.scheme}://{parts.netloc}/api/download/models/{dict(parse_qsl(parts.query)).get(_VERSION_FIELD)}"


def repository_of_page(url: str) -> str | None:
    """Return ``org/repo`` where a URL is the page of a repository on Hugging Face, else None."""
    parts = urlsplit(url)
    found = _REPOSITORY_PAGE.fullmatch(parts.path)
    return found[1] if found and parts.hostname in HUB_HOSTS and not names_file(url) else None


def is_address_without_file(text: str) -> bool:
    """Return whether a URL is one of those that name no file: see the top of this module."""
    try:
        known = version_of(text), _MODEL_PAGE.fullmatch(urlsplit(text).path), repository_of_page(text)
    except ValueError:
        return False
    return any(known)


def is_plain_path(file: str) -> bool:
    """Return whether a file's path is relative and stays below the folder that it is joined to."""
    return not set(file) & set("\\:\0") and all(part not in ("", ".", "..") for part in file.split("/"))


def url_problem(url: str) -> str | None:
    """Return a sentence why an adapter cannot be downloaded from a URL, None for a usable URL."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
        port = parts.port
    except ValueError as error:
        return f"this is not a URL: {error}."
    if not host or port == 0:
        return "the URL names no server."
    if parts.username is not None or parts.password is not None:
        return "a URL cannot carry a user name or password here; download the file and give its path."
    if "#" in url:
        return f"the URL must end in {SUFFIX}; leave out what begins with '#'."
    if is_address_without_file(url):
        return _page_problem(url)
    name = url_file_name(url)
    if not names_file(url):
        return f"the path of the URL, before its '?', must end in {SUFFIX}."
    if name.lower() == SUFFIX or not is_plain_path(name) or "/" in name:
        return "the URL names no file."
    return None


def _page_problem(url: str) -> str | None:
    query = dict(parse_qsl(urlsplit(url).query))
    if any(name.lower() in _TOKEN_FIELDS for name in query):
        return "a URL cannot carry a token here; leave it out, and set CIVITAI_TOKEN to it."
    if _MODEL_PAGE.fullmatch(urlsplit(url).path) and not re.fullmatch("[0-9]{1,20}", query.get(_VERSION_FIELD, "")):
        return (
            "this page of a model names none of its versions; give the address of the page's download button, "
            ".../api/download/models/VERSION."
        )
    return None


def path_of_file_address(address: str) -> str:
    """Return the path that a ``file:`` address names. Raises ValueError with a sentence."""
    parts = urlsplit(address)
    if parts.netloc.lower() not in ("", "localhost"):
        raise ValueError(
            f"a file: address names a file of this machine, and {parts.netloc!r} is another one; "
            "write file:///PATH, with three slashes."
        )
    if "?" in address or "#" in address:
        raise ValueError("write '?' as %3F and '#' as %23 in a file: address.")
    path = decoded(parts.path)
    return path[1:] if _DRIVE.match(path) else path


def file_address(path: str) -> str:
    """Return the ``file:`` address of an absolute path."""
    return f"file://{'' if path.startswith('/') else '/'}{quote(path)}"


def decoded(text: str) -> str:
    """Return a text with its percent-encoding decoded. Raises ValueError with a sentence."""
    try:
        plain = unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise ValueError("what is written with % is not UTF-8; write % itself as %25.") from None
    if has_control_character(plain):
        raise ValueError("it contains a control character.")
    return plain


def has_control_character(text: str) -> bool:
    """Return whether a text contains an ASCII control character."""
    return any(ord(character) < 32 or ord(character) == 127 for character in text)


def scheme_problem(scheme: str) -> str:
    """Return a sentence for an address of a scheme that cannot be downloaded."""
    advice = _ADVICE.get(scheme.lower(), "give an https:// address, a path, or a Hugging Face org/repo")
    return f"{scheme}:// is not an address that can be downloaded here; {advice}."


def without_secrets(text: str) -> str:
    """Return a text without the passwords and tokens in its URLs."""
    return _SECRET.sub(r"\1***", _USER.sub("***@", text))
