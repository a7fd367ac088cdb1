"""One finding: what a check of a file, a table, an engine or a machine has to say."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Severity = Literal["ok", "note", "warning", "error"]

SEVERITIES: tuple[Severity, ...] = ("ok", "note", "warning", "error")
"""From the least to the most severe."""


@dataclass(frozen=True)
class Finding:
    """One thing that was found, in one sentence, and in another one what to do about it.

    An "error" makes what was checked useless or false, a "warning" asks for care, a "note" says what nobody
    knows or what explains a number, "ok" is what was looked at and is as it should be. `about` is a line, a
    key, a layer or a part of what was checked; it may be empty, and so may `advice`.
    """

    severity: Severity
    about: str
    message: str
    advice: str = ""

    @property
    def text(self) -> str:
        """The message and the advice, one after the other."""
        return f"{self.message} {self.advice}" if self.advice else self.message


def most_severe(findings: Iterable[Finding]) -> Severity:
    """The severity of the worst finding; "ok" where there is none."""
    return max((finding.severity for finding in findings), key=SEVERITIES.index, default="ok")
