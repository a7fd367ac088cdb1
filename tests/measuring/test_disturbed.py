"""Disturbed rounds are taken again in the gaps, for a bounded time, on a clock that the test turns."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from ponas_deploy.measuring.disturbed import Extension, take_disturbed_again
from ponas_deploy.measuring.interference import Disturbed, Round

ROUND_S = 4.0


@dataclass
class Machine:
    """Rounds, and a machine that is quiet after `gap_at_s`; a round that is taken then is not disturbed."""

    wrong: list[bool]
    gap_at_s: float
    now_s: float = 0.0
    taken: list[int] = field(default_factory=list)

    @property
    def disturbed(self) -> Disturbed:
        rounds = tuple(Round(n, wrong="busy") for n, wrong in enumerate(self.wrong) if wrong)
        return Disturbed(len(self.wrong), rounds)

    def begin(self) -> None:
        pass

    def take(self, number: int) -> None:
        self.now_s += ROUND_S
        self.taken.append(number)

    def end_again(self, number: int, seen: object = None) -> None:
        self.wrong[number] = False

    def wait_for_gap(self, most_s: float) -> bool:
        waited_s = min(max(0.0, self.gap_at_s - self.now_s), most_s)
        self.now_s += waited_s
        return self.now_s >= self.gap_at_s


def extended(machine: Machine, most_s: float, rounds: range = range(99)) -> tuple[float, list[str]]:
    said = list[str]()
    extension = Extension(most_s, lambda found, left_s: said.append(f"{found.text} {left_s:g}"))
    took_s = take_disturbed_again(
        machine, rounds, machine.take, extension, round_s=ROUND_S, clock=lambda: machine.now_s
    )
    return took_s, said


def test_it_ends_when_no_more_than_half_are_disturbed() -> None:
    machine = Machine([True] * 4 + [False], gap_at_s=10.0)
    took_s, said = extended(machine, 60.0)
    assert machine.taken == [0, 1]
    assert took_s == 10.0 + 2 * ROUND_S
    assert said == ["4 of 5 rounds were disturbed (busy) 60"]
    assert not machine.disturbed.most


@pytest.mark.parametrize("most_s", [0.0, 3.0, 10.0, 17.0])
def test_it_never_takes_longer_than_it_may(most_s: float) -> None:
    for gap_at_s in (0.0, 5.0, 1e9):
        machine = Machine([True] * 20, gap_at_s)
        took_s, _ = extended(machine, most_s)
        assert took_s <= most_s
        assert len(machine.taken) <= most_s / ROUND_S


def test_nothing_is_taken_where_few_were_disturbed_or_none_of_these() -> None:
    for machine, rounds in (
        (Machine([True, True, False, False], 0.0), range(9)),
        (Machine([True, True, True], 0.0), range(10_000, 10_009)),
    ):
        assert extended(machine, 60.0, rounds) == (0.0, [])
        assert machine.taken == []
