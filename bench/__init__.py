"""Measures the gateway against comparators on the same core: `make bench`, `python -m bench`. See docs/bench.md."""
