"""The command line, behind the extra `cli`."""

from .app import run

__all__ = ["run"]
