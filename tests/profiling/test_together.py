"""What is done at the same time for several devices, and what alone."""

from __future__ import annotations

import threading

import pytest

from ponas_deploy.errors import PonasError
from ponas_deploy.measuring.place import HERE
from ponas_deploy.profiling.together import each
from ponas_deploy.remote.place import BoardPlace


class Away(BoardPlace):
    """A board that is asked nothing."""

    def __init__(self, name: str) -> None:
        super().__init__(name, None, lambda: pytest.fail("it is asked"), lambda: None)
        self.ended = threading.Event()

    def stop(self) -> None:
        self.ended.set()


def test_boards_are_served_at_the_same_time_and_this_machine_alone_after_them() -> None:
    places = {0: HERE, 1: Away("one"), 2: Away("two"), 3: None}
    together, order = threading.Barrier(2), list[int]()
    at_work = set[int]()

    def work(number: int) -> str:
        at_work.add(number)
        if isinstance(places[number], BoardPlace):
            together.wait(30)
        else:
            assert at_work == {number}
            assert threading.current_thread() is threading.main_thread()
        order.append(number)
        if number == 2:
            at_work.discard(number)
            raise PonasError("two is broken.")
        at_work.discard(number)
        return f"made {number}"

    made, failures = each(places, work)
    assert made == {number: f"made {number}" for number in (0, 1, 3)}
    assert {number: str(error) for number, error in failures.items()} == {2: "two is broken."}
    assert sorted(order[:2]) == [1, 2]
    assert order[2:] == [0, 3]


def test_a_bug_ends_all_of_them() -> None:
    places = {0: Away("one"), 1: Away("two")}

    def work(number: int) -> None:
        if number == 0:
            raise ZeroDivisionError
        assert places[1].ended.wait(30)

    with pytest.raises(ZeroDivisionError):
        each(places, work)
    assert places[0].ended.is_set()
