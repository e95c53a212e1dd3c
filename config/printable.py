"""Text of others, as a terminal or a log may show it: what could control either is taken out.

Names of files, answers of servers and prompts can hold escape sequences, line ends and marks that change the direction
of text. ``str.isprintable`` is false for all of them, and for lone surrogates, which cannot be printed at all.
"""

import json


def printable(text: str) -> str:
    """Return the text on one line, with a space for each character that is not printable."""
    return text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)


def printable_lines(text: str) -> str:
    """Return the text with its line ends, and a space for each other character that is not printable."""
    return "\n".join(map(printable, text.split("\n")))


def printable_json(value: object) -> str:
    """Return the value as indented JSON in which each character that is not printable is escaped."""
    return escaped_json(json.dumps(value, indent=2, ensure_ascii=False))


def escaped_json(text: str) -> str:
    """Return a JSON text in which each character that is not printable is escaped, but for line ends between values."""
    if text.isprintable():
        return text
    return "".join(c if c == "\n" or c.isprintable() else json.dumps(c)[1:-1] for c in text)
