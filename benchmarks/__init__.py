"""Ratios of speed, each measured within one run: `python -m benchmarks` or `make bench`."""
