"""A connection to a board that is made again where it is lost."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from threading import Event, RLock
from time import monotonic, sleep
from typing import TypeVar

from ponas_deploy.boards.book import Entry
from ponas_deploy.boards.link import BoardError, Link, LinkLostError, connected
from ponas_deploy.files.notes import OnNote

Answer = TypeVar("Answer")

RECONNECT_S = 120.0
_LONGEST_PAUSE_S = 5.0
"""Between two attempts to connect again."""


class JobStopped(BaseException):
    """`LastingLink.stop` was called, which the next question raises. Like Ctrl-C nothing goes on after it."""


class LastingLink:
    """Questions to a board, one at a time (`one_at_a_time`), over as many connections as it takes.

    `asked` is when it was last asked, by the monotonic clock. `gone` is what every question of a step raises
    from then on; it is set here where the board is out of reach for too long.
    """

    def __init__(self, entry: Entry, on_note: OnNote) -> None:
        self._entry, self._note = entry, on_note
        self.one_at_a_time = RLock()
        self.asked = monotonic()
        self.gone: BoardError | None = None
        self._connection = ExitStack()
        self._link: Link | None = None
        self._before = [0, 0]  # bytes of earlier connections, sent and received
        self._stopped = Event()

    @property
    def sent_bytes(self) -> int:
        """All that was sent to the board, before it is encrypted."""
        return self._before[0] + (self._link.sent_bytes if self._link else 0)

    @property
    def received_bytes(self) -> int:
        """All that came from it."""
        return self._before[1] + (self._link.received_bytes if self._link else 0)

    def stop(self) -> None:
        """Have the thread that asks raise JobStopped soon; another thread calls this."""
        self._stopped.set()

    def ask(self, question: Callable[[Link], Answer], patience_s: float | None = None) -> Answer:
        """Ask over the connection, or over a new one where it is lost, for as long as patience lasts.

        Questions may be asked twice, because an answer can be lost too: the board does nothing twice. None
        for a question of a step, which nothing is asked of that is stopped or gone.
        """
        for_a_step = patience_s is None
        patience_s = RECONNECT_S if patience_s is None else patience_s
        with self.one_at_a_time:
            lost_s, pause_s = 0.0, 1.0
            while True:
                if for_a_step and self._stopped.is_set():
                    raise JobStopped
                if for_a_step and self.gone:
                    raise self.gone
                self.asked = monotonic()
                try:
                    answer = question(self._link or self.connect())
                except LinkLostError as error:
                    self._disconnect()
                    lost_s = lost_s or monotonic()
                    if monotonic() - lost_s >= patience_s:
                        if patience_s > 0:
                            self.gone = error
                        raise
                    self._note(f"{error} Connecting again.")
                    pause = self._stopped.wait if for_a_step else sleep
                    pause(min(pause_s, patience_s))
                    pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
                except BaseException:  # an answer may still come, to nobody's question
                    self._disconnect()
                    raise
                else:
                    if lost_s:
                        self._note(f"{self._entry.name}: connected again.")
                    return answer

    def connect(self) -> Link:
        """Connect; LinkLostError where the board cannot be reached."""
        self._link = self._connection.enter_context(connected(self._entry))
        return self._link

    def close(self) -> None:
        """End the connection."""
        with self.one_at_a_time:
            self._disconnect()

    def _disconnect(self) -> None:
        if self._link is not None:
            self._before = [self.sent_bytes, self.received_bytes]
            self._link.drop()
            self._link = None
        self._connection.close()
