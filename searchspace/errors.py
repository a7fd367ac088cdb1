"""The root of every error this project raises, and those about spaces and architectures.

The rest of the tree is in `ponas_deploy/errors.py`, which draws it whole.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import SequenceMatcher

_ALIKE, _MOST_GUESSED, _LONGEST_GUESSED = 0.7, 3, 60
"""How alike a name must be to be guessed (`difflib`), how many are named that are as alike, and how many
characters a name has at most."""


def printable(text: str) -> str:
    """Text that came from elsewhere (a file, a device, somebody's keyboard), for a terminal.

    Whatever does not show itself is written as its escape: control characters and the escape codes that
    they begin, marks that turn the direction of writing, halves of characters. Everything else stays.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


class PonasError(Exception):
    """Something a user can mend; the message is one sentence: what is wrong, then what to do."""


class UnknownNameError(PonasError):
    """A name that nobody knows; the message lists the names that exist, and which of them may be meant.

    Attributes: `kind` ("space", "backend", ...), `name`, `known` (sorted). `advice` is said behind them.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], *, advice: str = "") -> None:
        self.kind, self.name, self.known = kind, name, tuple(sorted(known))
        there_are = ", ".join(self.known) or "none yet"
        guess = _guess(name, self.known)
        super().__init__(f"unknown {kind} '{name}': known are {there_are}.{guess}{advice and f' {advice}'}")


def _guess(name: str, known: Iterable[str]) -> str:
    """A question for the names that come closest, in capitals or not; empty where none comes close."""
    typed = name.strip().lower()
    if len(typed) > _LONGEST_GUESSED:
        return ""
    alike = {one: SequenceMatcher(None, typed, one.lower()).ratio() for one in known}
    closest = [one for one, ratio in alike.items() if ratio >= _ALIKE and ratio == max(alike.values())]
    if not 0 < len(closest) <= _MOST_GUESSED:
        return ""
    *others, last = closest
    return f" Did you mean {', '.join(others)}{' or ' if others else ''}{last}?"


class ArchitectureError(PonasError):
    """A text or file that is not an architecture of the space it is read for."""


class SpaceError(PonasError):
    """A search space whose parts do not fit together."""


class WeightsError(PonasError):
    """Weights that do not fit a network: a missing, extra or wrongly shaped tensor.

    Tensors are named as their file names them, so that what cannot be printed is escaped.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))
