"""A PostgreSQL server for a test: Debian's, on its own port, in a temporary folder."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["PROGRAMS", "postgres"]

_FOLDERS = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
_FOUND = shutil.which("initdb") or next((str(folder / "initdb") for folder in _FOLDERS), None)
PROGRAMS = Path(os.path.realpath(_FOUND)).parent if _FOUND else None
"""The folder of its programs, or None if it is not installed."""


@contextmanager
def postgres() -> Iterator[str]:
    """Run a server, and yield the address of an empty database; it refuses to run as root, who becomes another user."""
    assert PROGRAMS is not None
    with tempfile.TemporaryDirectory(prefix="postgres-") as folder:
        user = "postgres" if os.getuid() == 0 else None
        if user:
            os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
        with _running(PROGRAMS, Path(folder), user) as address:
            yield address


@contextmanager
def _running(programs: Path, folder: Path, user: str | None) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    data = folder / "data"

    def run(program: str, *words: object) -> None:
        command = [str(programs / program), *map(str, words)]
        subprocess.run(command, check=True, user=user, cwd=folder, stdout=subprocess.DEVNULL)  # noqa: S603

    run("initdb", "-D", data, "-U", "itnio", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C")
    options = f"-c listen_addresses=127.0.0.1 -p {port} -c unix_socket_directories='' -c fsync=off"
    run("pg_ctl", "-D", data, "-l", folder / "log", "-w", "-o", options, "start")
    try:
        yield f"postgresql://itnio:trusted@127.0.0.1:{port}/postgres"
    finally:
        run("pg_ctl", "-D", data, "-m", "immediate", "stop")
