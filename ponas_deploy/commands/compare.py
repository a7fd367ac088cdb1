"""`ponas compare`."""

from __future__ import annotations


def compare() -> None:
    """(being written)"""
