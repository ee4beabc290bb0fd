"""A report of what a file's records say: a page, and its headline on the terminal."""

from pathlib import Path

from rich.console import Console

from ..report import headline_table, read_figures, write_page
from .options import usage, zone_of

__all__ = ["run"]


def run(source: Path, output: Path, *, timezone: str) -> None:
    """Write the page, and print the headline figures."""
    with usage():
        zone_of(timezone)
        figures = read_figures(source, timezone=timezone)
    write_page(figures, output, source=source.name)
    Console().print(headline_table(figures.headline))
