"""Choosing an architecture from two tables: exact, constrained, genetic. Pure: no clock, no files."""
