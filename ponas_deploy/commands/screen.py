"""The part of a terminal that is drawn again and again while work goes on: a table of it, a line a try.

Drawn from callbacks alone: a thread that draws would run into what is being timed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock, RLock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live

DRAWN = Lock()
"""Held by what is drawn: others would overwrite it."""


class Screen:
    """Parts by name, one below the other, for as long as there is any; what is printed meanwhile is above.

    Nothing is drawn while somebody else holds `DRAWN`. Threads may show and hide parts of their own.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._parts: dict[str, RenderableType] = {}
        self._live: Live | None = None
        self._one_at_a_time = RLock()

    @property
    def can_draw(self) -> bool:
        """Whether it is a terminal that can be drawn on."""
        return self.console.is_terminal and not self.console.is_dumb_terminal

    def show(self, name: str, part: RenderableType) -> None:
        """Draw a part, in place of the one that had its name."""
        from rich.live import Live

        with self._one_at_a_time:
            self._parts[name] = part
            if self._live is None:
                if not DRAWN.acquire(blocking=False):  # for the moment that something else takes
                    return
                # What is printed goes above what is drawn, but for a document that goes elsewhere.
                self._live = Live(
                    console=self.console,
                    auto_refresh=False,
                    transient=True,
                    redirect_stdout=sys.stdout.isatty(),
                )
                self._live.start()
            self._draw()

    def hide(self, name: str) -> None:
        """Take a part away; the last one leaves nothing behind."""
        with self._one_at_a_time:
            if self._parts.pop(name, None) is not None and self._parts:
                self._draw()
            elif not self._parts:
                self.clear()

    def clear(self) -> None:
        """Take all parts away."""
        with self._one_at_a_time:
            self._parts.clear()
            if self._live is not None:
                self._live.stop()
                self._live = None
                DRAWN.release()

    def _draw(self) -> None:
        from rich.console import Group

        if self._live is not None:
            self._live.update(Group(*self._parts.values()), refresh=True)


@contextmanager
def drawing() -> Iterator[Screen]:
    """A screen on stderr that is clear at the end."""
    from ponas_deploy.commands.output import report_console

    screen = Screen(report_console(stderr=True))
    try:
        yield screen
    finally:
        screen.clear()
