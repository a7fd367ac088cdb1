"""One finding: what a check of a file, a table, an engine or a machine has to say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Severity: TypeAlias = Literal["ok", "note", "warning", "error"]

SEVERITIES: tuple[Severity, ...] = ("ok", "note", "warning", "error")
"""From the least to the most severe."""


@dataclass(frozen=True, slots=True)
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
