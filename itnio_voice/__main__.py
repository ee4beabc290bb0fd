"""The command `itnio-voice`, also as `python -m itnio_voice`."""

import sys

from ._extras import MissingExtraError, needs


def main() -> None:
    """Run the command line; report a missing extra with the command that installs it."""
    try:
        with needs("cli"):
            from .cli import run  # noqa: PLC0415 -- an extra

        sys.exit(run())
    except MissingExtraError as error:
        sys.stderr.write(f"itnio-voice: {error}\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
