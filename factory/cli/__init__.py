"""The command line of the factory: `factory`, or `python -m factory`."""

from factory.cli.app import cli, main

__all__ = ["cli", "main"]
