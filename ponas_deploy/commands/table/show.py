"""`ponas table show`."""

from __future__ import annotations

from ponas_deploy.commands.options import Table


def show(file: Table) -> None:
    """(being written)"""
