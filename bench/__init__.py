"""Benchmarks: `python -m bench.NAME --json`; README.md beside this file has what each measures and what it found."""
