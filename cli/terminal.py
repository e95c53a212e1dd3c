"""Everything that the command line prints. Texts of others (a server's answer, a file's name) pass through here.

No text is read as markup, and no character that could control the terminal is printed (config/printable.py).
"""

import time
from collections.abc import Container, Iterable, Sequence

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from config.printable import printable, printable_lines

_UNLIMITED_WIDTH = 1_000_000


def say(line: str, *, err: bool = False) -> None:
    """Print one line on standard output, or on standard error."""
    typer.echo(printable(line), err=err)


def say_lines(text: str) -> None:
    """Print a text of several lines on standard output."""
    typer.echo(printable_lines(text.removesuffix("\n")))


def terminal(*, err: bool = False) -> Console:
    """Return the console of standard output, or of standard error. It reads no text as markup."""
    return Console(stderr=err, highlight=False, markup=False, emoji=False)


def show_table(table: Table) -> None:
    """Print a table. A terminal's lines are cut at its width; in a pipe or a file each is as long as its content."""
    console = terminal()
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, emoji=False, width=_UNLIMITED_WIDTH)
    console.print(table)


def show_rows(columns: Sequence[str], rows: Iterable[Sequence[str]], *, right: Container[str] = ()) -> None:
    """Print a table of these rows; the columns in ``right`` end at their right side."""
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, no_wrap=True, justify="right" if column in right else "left")
    for row in rows:
        table.add_row(*cells(row))
    show_table(table)


def cells(row: Sequence[str]) -> list[Text]:
    """Return the cells of a table's row."""
    return [Text(printable(cell)) for cell in row]


def duration(seconds: float) -> str:
    """Return how long that is, in one unit."""
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def moment(seconds: float) -> str:
    """Return a time (unix seconds) as people here read it."""
    return time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(seconds))


def progress_bar(more: str) -> Progress:
    """Return a bar on standard error that also shows the field ``more`` of its task; on no terminal it is hidden."""
    console = terminal(err=True)
    columns: tuple[ProgressColumn, ...] = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn(f"{{task.fields[{more}]}}", markup=False),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
