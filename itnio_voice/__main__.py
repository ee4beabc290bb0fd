"""The command `itnio-voice`, also as `python -m itnio_voice`."""

import sys

_EXTRAS = {
    "cyclopts": "cli",
    "rich": "cli",
    "starlette": "sandbox",
    "uvicorn": "sandbox",
    "pyarrow": "arrow",
    "dlt": "dlt",
    "altair": "report",
    "duckdb": "report",
    "vl_convert": "report",
}
"""What brings a module that is not there."""


def main() -> None:
    """Run the command line; say what to install if an extra is not there."""
    try:
        from .cli import run  # noqa: PLC0415 -- an extra

        sys.exit(run())
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in _EXTRAS:
            raise
        sys.stderr.write(f"itnio-voice: {missing} is not there: pip install 'itnio-voice[{_EXTRAS[missing]}]'\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
