"""Measurements against named peers; each is a program of its own, `make bench-NAME`."""
