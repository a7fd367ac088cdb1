"""How the library says something to a person: through a callback, never by printing."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

OnNote: TypeAlias = Callable[[str], None]
"""Called with one line for people: what is done now, what was left out and why."""


def no_note(text: str) -> None:
    """The callback of a caller that wants no notes."""
