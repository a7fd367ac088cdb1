"""Findings of any check, rendered in one way."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import RenderableType
from rich.text import Text

from ponas_deploy.commands.reports.style import BAD, FAINT, GOOD, WARN, table
from ponas_deploy.files.findings import SEVERITIES, Finding, Severity

SEVERITY_STYLES: dict[Severity, str] = {"error": f"bold {BAD}", "warning": WARN, "note": FAINT, "ok": GOOD}
_ABOUT_WIDTH = 34


def findings_rows(findings: Sequence[Finding]) -> RenderableType:
    """One row a finding, in the given order; the advice is below the message."""
    rows = table("")
    rows.show_header = False
    rows.add_column(no_wrap=True)
    rows.add_column(overflow="fold", max_width=_ABOUT_WIDTH)
    rows.add_column(overflow="fold")
    for finding in findings:
        message = Text(finding.message)
        if finding.advice:
            message.append(f"\n-> {finding.advice}", style=FAINT)
        severity = Text(finding.severity, style=SEVERITY_STYLES[finding.severity])
        rows.add_row(severity, Text(finding.about), message)
    return rows


def warning_lines(warnings: Sequence[str]) -> RenderableType:
    """What speaks against the tables that a report goes by: it stands above the report."""
    return Text("\n".join(warnings), style=WARN)


def worst_first(findings: Sequence[Finding]) -> list[Finding]:
    """The findings by severity, in their order within each."""
    return sorted(findings, key=lambda finding: -SEVERITIES.index(finding.severity))
