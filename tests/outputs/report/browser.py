"""A page in a browser without a window: its elements, and what its scripts and policy allow."""

import shutil
import subprocess
from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
_QUIET = (
    "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-sync"
    " --disable-component-update --hide-scrollbars --virtual-time-budget=10000"
)


def run_chromium(page: Path, folder: Path, *options: str) -> str:
    """Open a page, and return what the browser prints: with `--dump-dom`, the elements of the page."""
    command = [str(CHROMIUM), *_QUIET.split(), f"--user-data-dir={folder / 'profile'}", *options, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=90).stdout  # noqa: S603
