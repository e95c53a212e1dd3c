"""Looking at paths that operators write, and reading the small text files among them."""

from pathlib import Path

_LARGEST = 1024 * 1024


def is_file(path: Path) -> bool:
    """Tell whether there is such a file; a path that cannot be looked at counts as absent."""
    try:
        return path.is_file()
    except OSError:  # no permission for the folder, or a name that no file system takes
        return False


def is_folder(path: Path) -> bool:
    """Tell whether there is such a folder; a path that cannot be looked at counts as absent."""
    try:
        return path.is_dir()
    except OSError:
        return False


def read_text(path: Path) -> str:
    """Return a UTF-8 file's text, with or without a byte order mark.

    Raises ValueError with a sentence where it is missing, larger than 1 MiB or not UTF-8.
    """
    if not is_file(path):
        raise ValueError("There is no such file.")
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
    except OSError as error:
        raise ValueError(f"The file cannot be read: {error.strerror}.") from None
    if len(content) > _LARGEST:
        raise ValueError("The file is larger than 1 MiB, which no definition needs.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"The file is not UTF-8 text: see line {line}.") from None
