"""The command line of the factory: `factory`, or `python -m factory`."""

import sys

__all__ = ["main"]


def main() -> None:
    """The `factory` command. Nothing is loaded before this, so that a Ctrl-C meanwhile ends in a word."""
    try:
        from factory.cli.app import main as run

        run()
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        sys.exit(130)
