"""Downloaded adapters are kept by their content: equal files are one file on disk, under several names.

``loras/.content/<SHA-256>`` and each name of the file are hard links to the same content. A name that is deleted leaves
the content to the other names, and the last one takes it along.
"""

import hashlib
import logging
import os
import tempfile
from pathlib import Path

log = logging.getLogger(__name__)

_FOLDER = ".content"


def keep_by_content(path: Path, loras: Path) -> None:
    """Make a downloaded file below ``loras`` one with the file of the same content, if there is one already.

    Where links cannot be made (a read-only folder, a file system without hard links), each name has its own file.
    """
    try:
        if path.stat().st_nlink == 1:
            (loras / _FOLDER).mkdir(exist_ok=True)
            _try_links(path, loras / _FOLDER)
            _link(path, loras / _FOLDER / _digest(path))
    except OSError as error:
        log.debug("%s is not shared: %s", path, error)


def _try_links(path: Path, folder: Path) -> None:
    """Raise OSError where files cannot have two names: their content, of gigabytes, need not be read then."""
    with tempfile.TemporaryDirectory(dir=folder) as other:
        os.link(path, Path(other) / path.name)


def _link(path: Path, content: Path) -> None:
    if content.is_file() and _digest(content) != content.name:
        content.unlink()  # a program has written into one of its names
    if not content.is_file():
        os.link(path, content)
        return
    with tempfile.TemporaryDirectory(dir=content.parent) as folder:
        other_name = Path(folder) / path.name
        os.link(content, other_name)
        os.replace(other_name, path)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def delete_name(path: Path, loras: Path) -> None:
    """Delete a name of a downloaded file, and its content if that was the last one. Raises OSError."""
    path.unlink(missing_ok=True)
    for content in (loras / _FOLDER).glob("*"):
        if content.is_file() and content.stat().st_nlink == 1:
            content.unlink(missing_ok=True)
