"""Benchmarks. Each `bench_*.py` has a first docstring line (the table's title) and `run()`.

`run()` takes the measurements and returns the table: a list of dicts, one per row, that share their keys.
"""
