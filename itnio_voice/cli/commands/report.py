"""`itnio-voice report`: a page about a file's call records, and its headline figures on the terminal."""

import errno
import os
import webbrowser
from pathlib import Path

from ...outputs.report import headline_table, read_figures, write_page
from ..messages import UsageError
from ..options import usage, zone_of
from ..terminal import print_error, print_output

__all__ = ["run"]


def run(source: Path, output: Path, *, timezone: str, dataset: str | None, open_page: bool) -> None:
    """Write the page, print the headline figures, and open the page in a browser if that is wanted."""
    with usage():
        zone_of(timezone)
        _check_output(output, source)
        figures = read_figures(source, timezone=timezone, dataset=dataset)
    write_page(figures, output, source=source.name)
    print_output(headline_table(figures))
    print_error(f"wrote {output}: {figures.headline.calls:,} records of {source}")
    if open_page and not webbrowser.open(output.absolute().as_uri()):
        print_error(f"no browser was found: open {output.absolute()} in one")


def _check_output(output: Path, source: Path) -> None:
    """Check, before the source is read, that the page replaces neither the source nor anything that is not a file.

    Raises:
        UsageError: if it would replace the source.
        OSError: if it cannot be written there.
    """
    if not output.parent.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(output.parent))
    if not output.exists():
        return
    if output.samefile(source):
        message = f"--output {output} is the file that is read: choose another name for the page"
        raise UsageError(message)
    if output.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(output))
    if not output.is_file():
        raise OSError(errno.EINVAL, "not a regular file", str(output))
