"""How the library says something to a person: through a callback, never by printing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import TypeAlias

OnNote: TypeAlias = Callable[[str], None]
"""Called with one line for people: what is done now, what was left out and why."""


def no_note(text: str) -> None:
    """The callback of a caller that wants no notes."""


Advance: TypeAlias = Callable[[int, int, str], None]
"""Called with units done, units in total, and what is being done."""
OpenBar: TypeAlias = Callable[[], AbstractContextManager[Advance]]
"""Opens a bar for one piece of work: not before, because none is drawn while something is timed."""


@contextmanager
def no_bar() -> Iterator[Advance]:
    """The bar of a caller that wants none."""
    yield lambda done, total, text: None


transfer_bar: ContextVar[OpenBar] = ContextVar("transfer_bar", default=no_bar)
"""Opens the bars of what is sent to a board or fetched; a command that shows bars sets it."""
