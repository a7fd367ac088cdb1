"""Several devices in one go: boards at the same time, a thread each, and this machine alone.

A board measures on its own. What is done for it here meanwhile, making models and fitting tables, would still
disturb a measurement of this machine, which is measured when the boards are done, its processor and its GPU
one after the other. All boards are connected to before anything is measured, one after the other, because ssh
may ask for a password.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from contextvars import copy_context
from dataclasses import replace
from functools import partial
from typing import TypeVar

from ponas_deploy.errors import PonasError
from ponas_deploy.files.notes import OnNote, no_note
from ponas_deploy.measuring.place import Place
from ponas_deploy.profiling.places import conditions_at, reached
from ponas_deploy.profiling.progress import WAITING, OnProgress, at_stage, of_device, of_runtime
from ponas_deploy.profiling.tables import ProfileOptions, profile_tables
from ponas_deploy.profiling.target import Target
from ponas_deploy.remote.place import BoardPlace
from ponas_deploy.tables.store import StoredTable
from searchspace.space import Space

Value = TypeVar("Value")
Reached = TypeVar("Reached", Place, "Place | None")


class ProfilesError(PonasError):
    """Some of several devices failed. Attributes: `tables` (of the others), `failures` by device."""

    def __init__(self, tables: tuple[StoredTable, ...], failures: Mapping[str, PonasError]) -> None:
        self.tables, self.failures = tables, dict(failures)
        super().__init__(" ".join(said_of(name, str(error)) for name, error in failures.items()))


def device_names(targets: Sequence[Target]) -> tuple[str, ...]:
    """What devices are called in their tables.

    PonasError for none, for one that is named twice, and for two boards that are one machine.
    """
    names = tuple(target.device_name for target in targets)
    if not names:
        raise PonasError("no device was named: name one or more.")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise PonasError(f"device {twice[0]} is named twice: name each once.")
    seen = dict[tuple[object, ...], str]()
    for target in targets:
        if entry := target.board:
            board = entry.board
            other = seen.setdefault((board.host, board.port, board.command), entry.name)
            if other != entry.name:
                raise PonasError(
                    f"{other} and {entry.name} are one machine by the device book: ask for one at a time."
                )
    return names


def said_of(name: str, text: str) -> str:
    """A text with the name of the device that it is of in front."""
    return text if text.startswith(f"{name}: ") else f"{name}: {text}"


def with_name(name: str, on_note: OnNote) -> OnNote:
    """Notes that begin with the device that they are of."""
    return lambda text: on_note(said_of(name, text))


@contextmanager
def reached_each(
    targets: Sequence[Target], reach: Callable[[Target], AbstractContextManager[Reached]]
) -> Iterator[tuple[dict[int, Reached], dict[int, PonasError]]]:
    """The places of several devices by their numbers, and why others failed; all are left at the end."""
    with ExitStack() as stack:
        places, failures = dict[int, Reached](), dict[int, PonasError]()
        for number, target in enumerate(targets):
            try:
                places[number] = stack.enter_context(reach(target))
            except PonasError as error:
                failures[number] = error
        yield places, failures


def each(
    places: Mapping[int, Place | None], work: Callable[[int], Value]
) -> tuple[dict[int, Value], dict[int, PonasError]]:
    """Do something for every device by its number: what came of it, and why it failed.

    Several boards at the same time, then the others in their order. What is not one of our errors ends all of
    them, as Ctrl-C does: this returns when no thread is left.
    """
    boards = {number: place for number, place in places.items() if isinstance(place, BoardPlace)}
    made, failures = dict[int, Value](), dict[int, PonasError]()

    def keep(number: int, result: Callable[[], Value]) -> None:
        try:
            made[number] = result()
        except PonasError as error:
            failures[number] = error

    if len(boards) > 1:
        with ThreadPoolExecutor(len(boards)) as threads:
            try:
                begun: dict[Future[Value], int] = {
                    threads.submit(copy_context().run, work, number): number for number in boards
                }
                for future in as_completed(begun):
                    keep(begun[future], future.result)
            except BaseException:
                for place in boards.values():
                    place.stop()
                raise
    for number in places:
        if number not in made and number not in failures:
            keep(number, partial(work, number))
    return made, failures


def profile_devices(
    targets: Sequence[Target],
    spaces: Sequence[Space],
    options: ProfileOptions,
    *,
    on_note: OnNote = no_note,
    on_progress: OnProgress | None = None,
) -> tuple[StoredTable, ...]:
    """Profile one or several devices, each at every space (a resolution), as `profile_tables` does.

    With `options.out` the tables of each of several devices go to a folder of its own there.

    Raises PonasError before anything is measured for a device that is neither this machine nor in the book;
    ProfilesError where some of several devices failed, which does not stop the others; of one device what
    `profile_tables` raises.
    """
    names = device_names(targets)
    for target in targets:
        if not target.local and target.board is None:
            raise PonasError(target.unreachable)
    several = len(targets) > 1

    def reach(target: Target) -> AbstractContextManager[Place]:
        return reached(target, f"profile of {spaces[0].name}", on_note)

    with reached_each(targets, reach) as (places, unreached):
        reports = {
            number: of_device(names[number], on_progress) if several else on_progress for number in places
        }
        for number, place in places.items():
            _announce(place, targets[number], spaces, reports[number])

        def profiled(number: int) -> list[StoredTable]:
            name, own, note = names[number], options, on_note
            if several:
                note = with_name(name, on_note)
                own = replace(options, out=options.out and options.out / name)
            return [
                stored
                for space in spaces
                for stored in profile_tables(
                    targets[number],
                    space,
                    own,
                    on_note=note,
                    on_progress=reports[number],
                    place=places[number],
                )
            ]

        made, failed = each(places, profiled)
        failures = {**unreached, **failed}
        if failures and not several:
            raise failures[0]
    tables = tuple(stored for number in sorted(made) for stored in made[number])
    if failures:
        raise ProfilesError(tables, {names[number]: failures[number] for number in sorted(failures)})
    return tables


def _announce(place: Place, target: Target, spaces: Sequence[Space], on_progress: OnProgress | None) -> None:
    """Report what is going to be profiled; what is asked for in vain says so when its turn comes."""
    with suppress(PonasError):
        for space in spaces:
            for conditions in conditions_at(place, target):
                of_runtime(conditions, space.resolution, on_progress)(at_stage(WAITING))
