"""Locks on open files and folders, which end with the process."""

import os

__all__ = ["lock"]


def lock(descriptor: int) -> bool:
    """Lock an open file or folder, and return False if another process has locked it; always True on Windows."""
    if os.name != "posix":
        return True
    import fcntl  # noqa: PLC0415 -- of POSIX

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
