"""What the doctor found: a verdict, then one row a thing, with what to do."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from ponas_deploy.checks.machine import Diagnosis, Verdict, verdict_of
from ponas_deploy.commands.reports.style import BAD, FAINT, GOOD, WARN, table

_STYLES: dict[Verdict, str] = {"good": GOOD, "mind": WARN, "bad": BAD}
_WORDS: dict[Verdict, str] = {
    "good": "a good place to measure",
    "mind": "a fair place to measure: mind what is said below",
    "bad": "a bad place to measure now",
}


def doctor_report(machine: str, found: Sequence[Diagnosis]) -> RenderableType:
    """Every diagnosis as a row; what to do stands below what was found."""
    rows = table("")
    rows.show_header = False
    rows.add_column(no_wrap=True)
    rows.add_column(no_wrap=True)
    rows.add_column(overflow="fold")
    for diagnosis in found:
        says = Text(diagnosis.says)
        if diagnosis.do:
            says.append(f"\n-> {diagnosis.do}", style=FAINT)
        rows.add_row(Text(diagnosis.verdict, style=_STYLES[diagnosis.verdict]), diagnosis.about, says)
    verdict = verdict_of(found)
    return Group(Text(f"{machine}: {_WORDS[verdict]}", style=f"bold {_STYLES[verdict]}"), rows)
