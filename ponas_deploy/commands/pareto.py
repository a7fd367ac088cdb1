"""`ponas pareto`."""

from __future__ import annotations


def pareto() -> None:
    """(being written)"""
