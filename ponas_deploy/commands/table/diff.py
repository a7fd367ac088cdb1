"""`ponas table diff`."""

from __future__ import annotations

from ponas_deploy.commands.options import Table


def diff(file: Table) -> None:
    """(being written)"""
