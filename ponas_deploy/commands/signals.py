"""SIGTERM and SIGHUP end a command as Ctrl-C does: what it began is cleaned up, what is finished stays."""

from __future__ import annotations

import os
import signal
import sys
from threading import Timer
from types import FrameType

_ENDING = ("SIGTERM", "SIGHUP")  # SIGHUP is not on Windows
_AGAIN_S = 0.05


class Ended(KeyboardInterrupt):
    """A signal that ends this process; everything that cleans up after Ctrl-C does so after it."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number

    @property
    def exit_code(self) -> int:
        """What a shell reports for a program that the signal ended."""
        return 128 + self.number


def raise_when_ended() -> None:
    """Raise `Ended` in the main thread on a signal that ends a process, unless it is ignored (`nohup`).

    A second one ends it at once. A process that is forked from this one is ended as usual. One that comes
    while Python swallows every error (in a destructor, around a fork) comes again, and Ctrl-C too.
    """
    mine = os.getpid()

    def ended(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        if os.getpid() != mine:
            os.kill(os.getpid(), number)
            return
        raise Ended(number)

    def swallowed(error: sys.UnraisableHookArgs) -> None:
        if not isinstance(error.exc_value, KeyboardInterrupt) or os.getpid() != mine:
            sys.__unraisablehook__(error)
            return
        number = error.exc_value.number if isinstance(error.exc_value, Ended) else signal.SIGINT
        if isinstance(error.exc_value, Ended):
            signal.signal(number, ended)
        Timer(_AGAIN_S, os.kill, (mine, number)).start()

    sys.unraisablehook = swallowed
    for number in (getattr(signal, name) for name in _ENDING if hasattr(signal, name)):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, ended)
