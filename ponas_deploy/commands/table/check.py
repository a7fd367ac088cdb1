"""`ponas table check`."""

from __future__ import annotations

from ponas_deploy.commands.options import Table


def check(file: Table) -> None:
    """(being written)"""
