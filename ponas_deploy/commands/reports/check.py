"""What `table check` found."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from ponas_deploy.checks.table_file import CheckedTable, Finding
from ponas_deploy.commands.reports.style import BAD, FAINT, GOOD, WARN, counted, table, titled
from ponas_deploy.tables.quality import Severity

_STYLES: dict[Severity, str] = {"error": f"bold {BAD}", "warning": WARN, "note": FAINT}
_SHOWN = 60
"""Findings printed of one file: a file with more has one cause, and --json names them all."""


def check_report(checked: Sequence[CheckedTable], pair: Sequence[Finding] = ()) -> RenderableType:
    """The findings of each file, worst first, and of both together."""
    parts = [_findings(f"{one.path} ({one.kind})", one.findings) for one in checked]
    if len(checked) == 2 and all(one.table is not None for one in checked):
        parts.append(_findings("both tables together", pair))
    return Group(*parts)


def _findings(title: str, findings: Sequence[Finding]) -> RenderableType:
    counts = [
        counted(sum(finding.severity == severity for finding in findings), severity) for severity in _STYLES
    ]
    if not findings:
        return Text.assemble((f"{title}: ", "bold"), ("nothing to complain about", GOOD))
    rows = table("")
    rows.show_header = False
    rows.add_column(no_wrap=True)
    rows.add_column(overflow="fold", max_width=34)
    rows.add_column(overflow="fold")
    order = list(_STYLES)
    for finding in sorted(findings, key=lambda finding: order.index(finding.severity))[:_SHOWN]:
        severity = Text(finding.severity, style=_STYLES[finding.severity])
        rows.add_row(severity, Text(finding.where), Text(finding.message))
    more = len(findings) - _SHOWN
    return titled(
        f"{title}: {', '.join(counts)}", rows, f"and {more} more: --json names them all" if more > 0 else ""
    )
