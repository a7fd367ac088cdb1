"""What `ponas doctor` found: what the machine is like as a whole, then one row a finding."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from ponas_deploy.checks.machine import MachineCheck
from ponas_deploy.commands.reports.findings import SEVERITY_STYLES, findings_rows
from ponas_deploy.files.findings import Severity

_WORDS: dict[Severity, str] = {
    "ok": "a good place to measure",
    "note": "a good place to measure",
    "warning": "a fair place to measure, with the warnings below",
    "error": "a bad place to measure now",
}


def doctor_report(found: MachineCheck) -> RenderableType:
    """The severity of the whole machine, then every finding."""
    summary = f"{found.name}: {_WORDS[found.severity]}"
    style = f"bold {SEVERITY_STYLES[found.severity].removeprefix('bold ')}"
    return Group(Text(summary, style=style), findings_rows(found.findings))
