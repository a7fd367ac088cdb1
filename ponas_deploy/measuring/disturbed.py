"""Rounds that were disturbed are taken again after a measurement, when most of them were.

A machine that was busy during most rounds gives a table of that other work, and whoever comes next believes
it. So the measurement goes on for a bounded time, in the gaps that the other work leaves: it waits until
nothing disturbs, takes one of the disturbed rounds again, and ends when no more than half are disturbed, or
the time is up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Protocol

from ponas_deploy.measuring.interference import Disturbed, Snapshot

_NEWS_EVERY_S = 5.0


class Rounds(Protocol):
    """What knows which rounds were disturbed (`interference.Interference`)."""

    @property
    def disturbed(self) -> Disturbed:
        """The rounds that were kept, and those of them that were disturbed."""
        ...

    def begin(self) -> None:
        """A round begins."""
        ...

    def end_again(self, number: int, seen: tuple[Snapshot, Snapshot] | None = None) -> None:
        """A round that was taken again has ended; `seen` where another machine took it."""
        ...

    def wait_for_gap(self, most_s: float) -> bool:
        """Wait until nothing disturbs; False where that did not come in time."""
        ...


OnDisturbed = Callable[[Disturbed, float], None]
"""Is called with the rounds as they are and the seconds that are left to take some of them again."""


@dataclass(frozen=True)
class Extension:
    """The extra time of a measurement: `most_s` beyond its end.

    `on_start` is called once, where it goes on at all; `on_news` every few seconds.
    """

    most_s: float
    on_start: OnDisturbed = lambda disturbed, left_s: None
    on_news: OnDisturbed = lambda disturbed, left_s: None


def take_disturbed_again(
    rounds: Rounds,
    numbers: range,
    take: Callable[[int], tuple[Snapshot, Snapshot] | None],
    extension: Extension,
    *,
    round_s: float,
    clock: Callable[[], float],
) -> float:
    """Take disturbed rounds of `numbers` again while most are; the seconds that took.

    `take` measures a round by its number, and needs about `round_s` for it: none is begun that would not end
    in time. It returns the machine before and after, where another one took the round.
    """
    start, mine = clock(), _to_take(rounds.disturbed, numbers)
    if not mine or round_s > extension.most_s:
        return 0.0
    extension.on_start(rounds.disturbed, extension.most_s)
    while mine and _is_gap(rounds, extension, start + extension.most_s - round_s, clock):
        rounds.begin()
        rounds.end_again(mine[0], take(mine[0]))
        mine = _to_take(rounds.disturbed, numbers)
    return clock() - start


def _is_gap(rounds: Rounds, extension: Extension, until_s: float, clock: Callable[[], float]) -> bool:
    """Wait until nothing disturbs; False where that did not come by `until_s`."""
    while (left_s := until_s - clock()) > 0:
        extension.on_news(rounds.disturbed, left_s)
        if rounds.wait_for_gap(min(left_s, _NEWS_EVERY_S)):
            return True
    return False


def _to_take(found: Disturbed, numbers: range) -> list[int]:
    """The numbers of disturbed rounds, the one that was taken longest ago first; none unless most were."""
    return list(dict.fromkeys(one.number for one in found.rounds if one.number in numbers and found.most))
