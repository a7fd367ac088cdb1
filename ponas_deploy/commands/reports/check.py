"""What `ponas table check` found."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from ponas_deploy.checks.table_file import CheckedTable
from ponas_deploy.commands.reports.findings import findings_rows, worst_first
from ponas_deploy.commands.reports.style import GOOD, counted, titled
from ponas_deploy.files.findings import Finding, Severity

_COUNTED: tuple[Severity, ...] = ("error", "warning", "note")
_SHOWN = 60
"""Findings printed of one file: a file with more has one cause, and --json names them all."""


def check_report(checked: Sequence[CheckedTable], pair: Sequence[Finding] = ()) -> RenderableType:
    """The findings of each file, worst first, and of both together."""
    parts = [_findings(f"{one.path} ({one.kind})", one.findings) for one in checked]
    if len(checked) == 2 and all(one.table is not None for one in checked):
        parts.append(_findings("both tables together", pair))
    return Group(*parts)


def _findings(title: str, findings: Sequence[Finding]) -> RenderableType:
    if not findings:
        return Text.assemble((f"{title}: ", "bold"), ("nothing to complain about", GOOD))
    counts = [counted(sum(one.severity == severity for one in findings), severity) for severity in _COUNTED]
    more = len(findings) - _SHOWN
    below = f"and {more} more: --json names them all" if more > 0 else ""
    return titled(f"{title}: {', '.join(counts)}", findings_rows(worst_first(findings)[:_SHOWN]), below)
