"""Figures and tables. `drawing` says what a module of `curves`, `classes` or `tables` has, and `make` calls it."""
