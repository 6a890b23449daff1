"""Benchmarks: `python -m tools.bench` measures, prints a table, and appends to `benchmarks/results.csv`."""
