"""The command `itnio-voice`, also as `python -m itnio_voice`."""

import sys

_NEEDED = {"cyclopts", "rich", "starlette", "uvicorn"}


def main() -> None:
    """Run the command line; say what to install if its extras are not there."""
    try:
        from .cli import run  # noqa: PLC0415 -- an extra
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _NEEDED:
            raise
        sys.stderr.write("the command line needs its extras: pip install 'itnio-voice[cli,sandbox]'\n")
        sys.exit(2)
    sys.exit(run())


if __name__ == "__main__":
    main()
