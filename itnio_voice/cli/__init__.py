"""The command line. Extra `cli`."""

from .app import run

__all__ = ["run"]
